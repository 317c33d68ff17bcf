package sql

import "testing"

// TestDollars: an argument's text is never taken for another argument's place,
// which would put what stands in quotes outside them.
func TestDollars(t *testing.T) {
	t.Parallel()
	db := openDuckDB(t)
	for query, want := range map[string]string{
		"SELECT concat('$2', ' || 1 || ')":                                                    "$2 || 1 || ",
		"SELECT concat('$2', ', (SELECT 1), ')":                                               "$2, (SELECT 1), ",
		"SELECT concat('$*', '$1', '$3', '$')":                                                "$*$1$3$",
		"SELECT replace('a$1b$2', '$2', '$3')":                                                "a$1b$3",
		"SELECT lower(upper('$1a')), strpos('x$2', '$2')":                                     "$1a, 2",
		"SELECT split_part('a$1b', '$1', 2), split_part(', 1), ', '$1', 1)":                   "b, , 1), ",
		"SELECT split_part('$3,b', ',', 1)":                                                   "$3",
		`SELECT count(DISTINCT "$1"), max("$2") FROM (SELECT g AS "$1", n AS "$2" FROM nums)`: "2, 3",
	} {
		if got, err := run(db, query); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", query, got, err, want)
		}
	}
}
