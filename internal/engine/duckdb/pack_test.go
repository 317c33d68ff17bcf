package duckdb

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// rowsOf emits the rows n.1, n.2 … of a source.
func rowsOf(n, rows int, extra ...any) Part {
	return func(_ context.Context, emit func([]any) error) error {
		for i := range rows {
			if err := emit(append([]any{fmt.Sprintf("%d.%d", n, i+1), map[string]any{"x": int32(i)}}, extra...)); err != nil {
				return err
			}
		}
		return nil
	}
}

var packColumns = []Column{{"t", "VARCHAR"}, {"s", `STRUCT("x" INTEGER)`}}

// writePack makes a pack of sources from 1 on with so many rows each.
func writePack(t testing.TB, e *Engine, rows ...int) string {
	t.Helper()
	rel := Relation{Name: "r", Columns: append(packColumns[:2:2], Column{SourceColumn, "INTEGER"}), Prefixes: []Prefix{{"t", 2}}}
	for i, n := range rows {
		rel.Parts = append(rel.Parts, rowsOf(i+1, n, int32(i+1)))
	}
	file := filepath.Join(t.TempDir(), "a=b.parquet")
	if err := e.WritePack(t.Context(), file, rel); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestStretches: packs and parts are one relation, in order, and of a pack only
// the sources that are taken, with their values.
func TestStretches(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	one, two := writePack(t, e, 1, 2, 0, 1, 1), writePack(t, e, 1, 1)
	many := make([]int, 40)
	for i := range many {
		many[i] = 1
	}
	wide := writePack(t, e, many...)
	day := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	var odd []Source
	var oddRows []string
	for n := 3; n <= 39; n += 2 {
		odd = append(odd, Source{N: n, Values: []any{fmt.Sprint("v", n)}})
		oddRows = append(oddRows, fmt.Sprintf("%d.1 v%d", n, n))
	}
	text := []Column{{"p", "VARCHAR"}}
	for name, tc := range map[string]struct {
		sql       string
		extra     []Column
		stretches []Stretch
		want      string
	}{
		"whole packs, one after the other": {`SELECT "t" FROM "r"`, nil, []Stretch{{Pack: two}, {Pack: one}, {Parts: []Part{rowsOf(9, 1)}}, {Pack: two}},
			"1.1; 2.1; 1.1; 2.1; 2.2; 4.1; 5.1; 9.1; 1.1; 2.1"},
		"some sources": {`SELECT "t", struct_extract("s", 'x') FROM "r"`, nil, []Stretch{{Pack: one, Sources: []Source{{N: 2}, {N: 3}, {N: 5}}}}, "2.1 0; 2.2 1; 5.1 0"},
		"values": {`SELECT "t", "p" FROM "r"`, text, []Stretch{{Pack: one, Sources: []Source{{2, []any{"it's"}}, {5, []any{nil}}}}, {Parts: []Part{rowsOf(9, 1, "part")}}},
			"2.1 it's; 2.2 it's; 5.1 <nil>; 9.1 part"},
		"one value":          {`SELECT "t", "p" FROM "r" WHERE "p" = 'v'`, text, []Stretch{{Pack: two, Sources: []Source{{1, []any{"v"}}, {2, []any{"v"}}}}}, "1.1 v; 2.1 v"},
		"many ranges":        {`SELECT "t", "p" FROM "r"`, text, []Stretch{{Pack: wide, Sources: odd}}, strings.Join(oddRows, "; ")},
		"no column":          {`SELECT count(*) FROM "r"`, nil, []Stretch{{Pack: one}, {Pack: two, Sources: []Source{{N: 2}}}}, "6"},
		"other types":        {`SELECT "t", "p", "d", "b" FROM "r"`, []Column{{"p", "BIGINT"}, {"d", "DATE"}, {"b", "BOOLEAN"}}, []Stretch{{Pack: two, Sources: []Source{{1, []any{int64(-7), day, true}}, {2, []any{int64(8), day, false}}}}}, "1.1 -7 2026-11-25 00:00:00 +0000 UTC true; 2.1 8 2026-11-25 00:00:00 +0000 UTC false"},
		"a limit in order":   {`SELECT "t" FROM "r" LIMIT 3`, nil, []Stretch{{Parts: []Part{rowsOf(9, 1)}}, {Pack: one}}, "9.1; 1.1; 2.1"},
		"read several times": {`SELECT a."t" FROM "r" a JOIN "r" b ON a."t" = b."t" ORDER BY 1`, nil, []Stretch{{Pack: two}, {Parts: []Part{rowsOf(9, 1)}}}, "1.1; 2.1; 9.1"},
	} {
		r := Relation{Name: "r", Columns: packColumns, Extra: tc.extra, Stretches: tc.stretches}
		if strings.HasPrefix(tc.sql, "SELECT count") {
			r.Columns = nil
		}
		got, err := query(t, e, tc.sql, r)
		rows := strings.SplitN(got, ":", 2+strings.Count(tc.sql[:strings.Index(tc.sql, " FROM")], ","))
		if _, rest, ok := strings.Cut(rows[len(rows)-1], "; "); err != nil || !ok || rest != tc.want {
			t.Errorf("%s:\n got %s, %v\nwant %s", name, got, err, tc.want)
		}
	}
	for name, r := range map[string]Relation{
		"no values":        {Stretches: []Stretch{{Pack: two}}, Extra: text},
		"too few values":   {Stretches: []Stretch{{Pack: two, Sources: []Source{{N: 1}}}}, Extra: text},
		"a type not taken": {Stretches: []Stretch{{Pack: two, Sources: []Source{{1, []any{1.5}}}}}, Extra: text},
		"parts beside":     {Stretches: []Stretch{{Pack: two}}, Parts: []Part{rowsOf(1, 1)}},
	} {
		r.Name, r.Columns = "r", packColumns
		if got, err := query(t, e, `SELECT "t" FROM "r"`, r); err == nil {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestPrefixes: a pack's prefix is what its column begins with, in characters,
// and in a part it begins with that.
func TestPrefixes(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	texts := []any{"2026-11-04", "é́x", "", nil, "ab", "a\x00b"}
	part := func(extra ...any) Part {
		return func(_ context.Context, emit func([]any) error) error {
			for _, x := range texts {
				if err := emit(append([]any{x}, extra...)); err != nil {
					return err
				}
			}
			return nil
		}
	}
	prefix := []Prefix{{`t"`, 2}}
	columns := []Column{{`t"`, "VARCHAR"}}
	file := filepath.Join(t.TempDir(), "x.parquet")
	if err := e.WritePack(t.Context(), file, Relation{Name: "r", Columns: append(columns[:1:1], Column{SourceColumn, "INTEGER"}), Prefixes: prefix, Parts: []Part{part(int32(1))}}); err != nil {
		t.Fatal(err)
	}
	const same = `SELECT count(*) FILTER (WHERE "t""$2" IS NOT DISTINCT FROM left("t""", 2)), count(*) FILTER (WHERE substr("t""$2", 1, 2) IS NOT DISTINCT FROM substr("t""", 1, 2)), count(*) FROM "r"`
	for name, tc := range map[string]struct {
		r    Relation
		want string
	}{
		"a pack":      {Relation{Stretches: []Stretch{{Pack: file}}}, "6 6 6"},
		"some of it":  {Relation{Stretches: []Stretch{{Pack: file, Sources: []Source{{1, []any{"x"}}}}}, Extra: []Column{{"p", "VARCHAR"}}}, "6 6 6"},
		"with a part": {Relation{Stretches: []Stretch{{Parts: []Part{part("x")}}, {Pack: file, Sources: []Source{{1, []any{"x"}}}}}, Extra: []Column{{"p", "VARCHAR"}}}, "9 12 12"},
		"parts":       {Relation{Parts: []Part{part(), part()}}, "6 12 12"},
		"nothing":     {Relation{}, "0 0 0"},
	} {
		tc.r.Name, tc.r.Columns, tc.r.Prefixes = "r", columns, prefix
		if got, err := query(t, e, same, tc.r); err != nil || !strings.HasSuffix(got, "; "+tc.want) {
			t.Errorf("%s: %s, %v; want %s", name, got, err, tc.want)
		}
	}
	parquet := filepath.Join(t.TempDir(), "y.parquet")
	writeParquet(t, parquet)
	if got, err := query(t, e, `SELECT * FROM "r"`, Relation{Name: "r", Columns: []Column{{"name", "VARCHAR"}}, Prefixes: []Prefix{{"name", 2}}, Parquet: []File{{Path: parquet}}}); err == nil {
		t.Errorf("a file that is no pack has prefixes: %s", got)
	}
}
