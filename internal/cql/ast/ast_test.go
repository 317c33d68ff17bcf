package ast_test

import (
	"strings"
	"testing"

	"spoor/internal/cql/ast"
	"spoor/internal/cql/parser"
)

func TestQuoteIdent(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a_1": "a_1", "": `""`, "A": `"A"`, "1a": `"1a"`, "_a": `"_a"`, "a b": `"a b"`, `a"b`: `"a""b"`,
		"select": `"select"`, "true": `"true"`, "ttl": "ttl", "ä": `"ä"`,
	} {
		if got := ast.QuoteIdent(in); got != want {
			t.Errorf("%q is quoted as %s, want %s", in, got, want)
		}
	}
}

func TestTables(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"SELECT * FROM t":                  "ks.t",
		"SELECT * FROM other.t":            "other.t",
		"INSERT INTO t (a) VALUES (1)":     "ks.t",
		"UPDATE other.t SET a=1 WHERE b=1": "other.t",
		"DELETE FROM t WHERE a=1":          "ks.t",
		"TRUNCATE t":                       "ks.t",
		"BEGIN BATCH INSERT INTO t (a) VALUES (1) DELETE FROM o.u WHERE a=1; APPLY BATCH": "ks.t o.u",
		"BEGIN BATCH APPLY BATCH": "",
		"CREATE TABLE t (a int)":  "",
	} {
		parsed, err := parser.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, table := range ast.Tables(parsed.Statement, "ks") {
			got = append(got, ast.String(table))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
