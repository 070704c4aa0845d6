from bench.rows import Row

ROWS: tuple[Row, ...] = ()
