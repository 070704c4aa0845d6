"""The command line itself."""

import subprocess
import sys

import pytest

from tackybox import __main__, service
from tackybox.__main__ import VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as end:
        __main__.run([verb, "--help"])
    assert end.value.code == 0
    assert f"tackybox {verb}" in capsys.readouterr().out


def test_help_lists_every_verb(capsys):
    with pytest.raises(SystemExit):
        __main__.run(["--help"])
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize("verb", ["trace", "status", "quarantine", "verify"])
def test_looking_something_up_loads_no_network_library(verb):
    program = f"import sys, runpy; sys.argv = ['tackybox', '{verb}', '--help']\n"
    program += "try:\n  runpy.run_module('tackybox', run_name='__main__')\n"
    program += "except SystemExit:\n  pass\n"
    program += "sys.exit('pynetdicom' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("arguments", [[], ["destroy"], ["verify", "--nonsense"], ["echo", "x"]])
def test_a_wrong_command_line_is_one_line(arguments, capsys):
    assert service.main(lambda: __main__.run(arguments)) == 64
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
