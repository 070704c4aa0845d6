"""`tackybox verify`."""

from tackybox.spool import Outlet


def test_a_sound_spool_in_all_its_places(tackybox, box):
    entries = [box.accept(number) for number in range(6)]
    box.hand_out(entries[0], "a_1", "b_1")  # two links, one item
    outlet, (entry,) = box.claim("a_1")
    outlet.sent(entry, "peer_1")
    box.hand_out(entries[1], "a_1")
    outlet, (entry,) = box.claim("a_1")
    outlet.defer(entry, 4e9)
    box.hand_out(entries[2], "a_1")
    outlet, (entry,) = box.claim("a_1")
    outlet.quarantine(entry, "status-a900")
    box.spool.quarantine(entries[3], "unreadable")
    result = tackybox(f"verify --spool {box.root}")
    assert result.code == 0
    assert result.out.startswith("6 items, ")
    assert "all as received" in result.out
    assert result.err == ""


def test_a_changed_byte_a_wrong_name_and_a_stranger_are_told(tackybox, box):
    changed, renamed, cut, sound = (box.accept(number) for number in range(4))
    data = bytearray(changed.path.read_bytes())
    data[-1] ^= 1
    changed.path.write_bytes(data)
    renamed.path.rename(renamed.path.with_name(renamed.item.name.replace("1.2.3.1", "1.2.3.77")))
    cut.path.write_bytes(cut.path.read_bytes()[:40])
    (Outlet(box.root, "a_1").root / "new" / "high" / "stranger").touch()
    result = tackybox(f"verify --json --spool {box.root}")
    assert result.code == 65
    faults = {fault["item"]: fault["problem"] for fault in result.json["faults"]}
    assert result.json["items"] == 4
    assert "the digest differs" in faults[changed.item.id]
    assert "another SOP instance" in faults[renamed.item.id]
    assert "not a Part-10 file" in faults[cut.item.id]
    assert "not an item's" in faults[""]
    assert sound.item.id not in faults
    people = tackybox(f"verify --spool {box.root}")
    assert people.code == 65
    assert changed.item.id in people.out
    assert "DOE" not in people.out


def test_where_there_is_no_spool(tackybox, tmp_path):
    result = tackybox(f"verify --spool {tmp_path}")
    assert (result.code, result.out) == (66, "")
    assert "is no spool" in result.err
    assert list(tmp_path.iterdir()) == []


def test_without_settings_and_without_spool(tackybox):
    result = tackybox("verify")
    assert (result.code, result.out) == (78, "")
    assert result.err.count("\n") == 1
