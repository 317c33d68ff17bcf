package duckdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func query(t *testing.T, e *Engine, sql string, rels ...Relation) (string, error) {
	t.Helper()
	var out []string
	err := e.Query(t.Context(), sql, rels, func(c []ResultColumn) error {
		for _, x := range c {
			out = append(out, x.Name+":"+x.Type)
		}
		return nil
	}, func(row []any) error {
		out = append(out, strings.TrimSpace(fmt.Sprintln(row...)))
		return nil
	})
	return strings.Join(out, "; "), err
}

func newEngine(t *testing.T) *Engine {
	t.Helper()
	e := New(Config{MemoryMB: 256, Threads: 2, TempDir: filepath.Join(t.TempDir(), "tmp")})
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func TestRelations(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	rel := Relation{Name: "r", Columns: []Column{{"a", "BIGINT"}, {"s", `STRUCT("x" VARCHAR, "y" INTEGER[])`}, {"m", "MAP(VARCHAR, VARCHAR)"}},
		Parts: []Part{func(_ context.Context, emit func([]any) error) error {
			return errors.Join(
				emit([]any{int64(1), map[string]any{"x": "one", "y": []any{int32(1), int32(2)}}, Map{"k": "v"}}),
				emit([]any{nil, nil, nil}))
		}}}
	got, err := query(t, e, `SELECT "a", struct_extract("s", 'x') AS x, len(struct_extract("s", 'y')) AS n, "m"['k'] AS k FROM "r" ORDER BY 1`, rel)
	if err != nil || got != "a:BIGINT; x:VARCHAR; n:BIGINT; k:VARCHAR; 1 one 2 v; <nil> <nil> <nil> <nil>" {
		t.Errorf("%s, %v", got, err)
	}
	if got, err = query(t, e, `SELECT count(*) FROM "r"`, Relation{Name: "r", Parts: []Part{func(_ context.Context, emit func([]any) error) error { return errors.Join(emit(nil), emit(nil)) }}}); err != nil || !strings.HasSuffix(got, "; 2") {
		t.Errorf("a relation without columns: %s, %v", got, err)
	}
}

// TestSandbox hands the engine SQL that no rewriting would let through: it must
// not reach the host all the same.
func TestSandbox(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret.csv")
	if err := os.WriteFile(secret, []byte("a\nsecret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"SELECT * FROM read_csv('" + secret + "')", "SELECT * FROM '" + secret + "'", "SELECT * FROM read_text('" + secret + "')",
		"SELECT * FROM read_blob('/etc/passwd')", "SELECT * FROM glob('/etc/*')", "SELECT * FROM read_json('" + secret + "')", "SELECT * FROM read_parquet('" + secret + "')",
		"COPY (SELECT 1) TO '" + dir + "/out.csv'", "ATTACH '" + dir + "/x.db'", "INSTALL httpfs", "LOAD httpfs", "LOAD '" + secret + "'",
		"SET enable_external_access=true", "RESET enable_external_access", "SET allowed_directories=['/']", "PRAGMA enable_external_access=true",
		"SET lock_configuration=false", "EXPORT DATABASE '" + dir + "/export'", "IMPORT DATABASE '" + dir + "'", "SELECT getenv('HOME')", "SELECT * FROM read_text('/proc/self/environ')", "SELECT * FROM sniff_csv('/etc/passwd')", "SELECT * FROM parquet_metadata('/etc/passwd')",
		"CREATE SECRET s (TYPE s3)", "SELECT * FROM read_csv('http://127.0.0.1:1/')", "CREATE TABLE t AS FROM '/etc/passwd'",
	} {
		if got, err := query(t, e, sql); err == nil {
			t.Errorf("%s was carried out: %s", sql, got)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("files were written: %v, %v", left, err)
	}
}

func TestParquet(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	file := filepath.Join(t.TempDir(), "data.parquet")
	writeParquet(t, file)
	rel := Relation{Name: "p", Columns: []Column{{"n", "BIGINT"}, {"name", "VARCHAR"}, {"absent", "DATE"}}, Parquet: []File{{file, []string{"2024/01/01"}}},
		Extra: []Column{{"day", "VARCHAR"}}}
	got, err := query(t, e, `SELECT * FROM "p" ORDER BY "n"`, rel)
	if err != nil || !strings.HasSuffix(got, "; 1 a <nil> 2024/01/01; 2 b <nil> 2024/01/01") {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := query(t, e, "SELECT * FROM read_parquet('"+file+"x')", rel); err == nil {
		t.Error("a file beside the relation's was read")
	}
	if got, err := query(t, e, `SELECT count(*) FROM "p"`, Relation{Name: "p", Columns: rel.Columns, Extra: rel.Extra}); err != nil || !strings.HasSuffix(got, "; 0") {
		t.Errorf("a table without files: %s, %v", got, err)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	ctx, cancel := context.WithCancel(t.Context())
	rel := Relation{Name: "r", Columns: []Column{{"a", "BIGINT"}}, Parts: []Part{func(_ context.Context, emit func([]any) error) error {
		cancel()
		return emit([]any{int64(1)})
	}}}
	err := e.Query(ctx, `SELECT count(*) FROM range(100000000000) AS x(i), "r" WHERE i % 7 = "a"`, []Relation{rel}, func([]ResultColumn) error { return nil }, func([]any) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled query ended with %v", err)
	}
}

// numbers is a part of the numbers in [from, to).
func numbers(from, to int64) Part {
	return func(_ context.Context, emit func([]any) error) error {
		row := make([]any, 1)
		for i := from; i < to; i++ {
			row[0] = i
			if err := emit(row); err != nil {
				return err
			}
		}
		return nil
	}
}

// TestParts: parts keep their order although several are read at a time, a
// query may read a relation twice, and one that has enough ends its readers.
func TestParts(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	rel := Relation{Name: "n", Columns: []Column{{"n", "BIGINT"}}}
	for i := range int64(20) {
		rel.Parts = append(rel.Parts, numbers(i*5000, (i+1)*5000))
	}
	var last int64 = -1
	err := e.Query(t.Context(), `SELECT "n" FROM "n"`, []Relation{rel}, func([]ResultColumn) error { return nil }, func(row []any) error {
		if row[0] != last+1 {
			return fmt.Errorf("%v follows %d", row[0], last)
		}
		last++
		return nil
	})
	if err != nil || last != 99_999 {
		t.Errorf("the last row is %d: %v", last, err)
	}
	if got, err := query(t, e, `SELECT count(*), sum(a."n") FROM "n" AS a JOIN "n" AS b ON a."n" = b."n" + 1`, rel); err != nil || !strings.HasSuffix(got, "; 99999 4999950000") {
		t.Errorf("a join with itself: %s, %v", got, err)
	}
	endless := Relation{Name: "e", Columns: rel.Columns, Parts: []Part{numbers(0, 1<<62), numbers(0, 1<<62), numbers(0, 1<<62)}}
	if got, err := query(t, e, `SELECT * FROM "e" LIMIT 2`, endless); err != nil || !strings.HasSuffix(got, "; 0; 1") {
		t.Errorf("two rows of many: %s, %v", got, err)
	}
}

// TestReaderFails: the error of a part is the query's error, unchanged.
func TestReaderFails(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	broken := errors.New("broken")
	rel := Relation{Name: "n", Columns: []Column{{"n", "BIGINT"}}, Parts: []Part{numbers(0, 10_000), func(context.Context, func([]any) error) error { return broken }}}
	if got, err := query(t, e, `SELECT sum("n") FROM "n"`, rel); !errors.Is(err, broken) {
		t.Errorf("%s, %v", got, err)
	}
	short := Relation{Name: "n", Columns: []Column{{"n", "BIGINT"}, {"m", "BIGINT"}}, Parts: []Part{numbers(0, 1)}}
	if got, err := query(t, e, `SELECT "n", "m" FROM "n"`, short); err == nil {
		t.Errorf("a row that is too short: %s", got)
	}
	if got, err := query(t, e, `SELECT "x" FROM "n"`, rel); err == nil {
		t.Errorf("a column that is not there: %s", got)
	} else if own := (*Error)(nil); !errors.As(err, &own) {
		t.Errorf("%T: %v", err, err)
	}
}

// TestOnlyQueries: the files of a relation may be read and not written, and
// nothing rides along with a query.
func TestOnlyQueries(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	file := filepath.Join(t.TempDir(), "data.parquet")
	writeParquet(t, file)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rel := Relation{Name: "p", Columns: []Column{{"n", "BIGINT"}}, Parquet: []File{{Path: file}}}
	for _, sql := range []string{
		"COPY (SELECT 1) TO '" + file + "' (FORMAT parquet)", "COPY (SELECT 1) TO '" + file + "'; SELECT 1", "SELECT 1; SELECT 2",
		"EXPLAIN ANALYZE COPY (SELECT 1) TO '" + file + "'", "ANALYZE COPY (SELECT 1) TO '" + file + "'", "EXPLAIN SELECT 1", "CREATE TABLE t (a INTEGER)", "DROP VIEW p",
		"PREPARE s AS SELECT 1", "BEGIN", "CALL pragma_version()", "", ";", "ANALYZE",
	} {
		if got, err := query(t, e, sql, rel); err == nil {
			t.Errorf("%s was carried out: %s", sql, got)
		}
		if got, err := e.Explain(t.Context(), sql, []Relation{rel}); err == nil {
			t.Errorf("%s was explained: %s", sql, got)
		}
	}
	after, err := os.ReadFile(file)
	if err != nil || string(after) != string(before) {
		t.Errorf("the file was changed: %v", err)
	}
	lines, err := e.Explain(t.Context(), `SELECT count(*) FROM "p"`, []Relation{{Name: "p", Columns: rel.Columns}})
	if err != nil || len(lines) < 3 {
		t.Errorf("%q, %v", lines, err)
	}
}

func BenchmarkScan(b *testing.B) {
	e := New(Config{MemoryMB: 256, Threads: 2, TempDir: filepath.Join(b.TempDir(), "tmp")})
	row := []any{int64(1), "a text of some length", map[string]any{"arn": "arn:aws:iam::1:user/a", "type": "IAMUser"}}
	const rows = 100_000
	rel := Relation{Name: "r", Columns: []Column{{"a", "BIGINT"}, {"b", "VARCHAR"}, {"c", "STRUCT(arn VARCHAR, type VARCHAR)"}},
		Parts: []Part{func(_ context.Context, emit func([]any) error) error {
			for range rows {
				if err := emit(row); err != nil {
					return err
				}
			}
			return nil
		}}}
	for b.Loop() {
		if err := e.Query(b.Context(), `SELECT "b", c.arn, count(*) FROM r GROUP BY 1, 2`, []Relation{rel}, func([]ResultColumn) error { return nil }, func([]any) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkOpen is the cost of a database of its own for each query.
func BenchmarkOpen(b *testing.B) {
	e := New(Config{MemoryMB: 256, Threads: 2, TempDir: filepath.Join(b.TempDir(), "tmp")})
	for b.Loop() {
		if err := e.Query(b.Context(), "SELECT 1", nil, func([]ResultColumn) error { return nil }, func([]any) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

// TestWriteParquet writes rows with nested values into a file, and reads the
// file and other rows as one relation.
func TestWriteParquet(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	file := filepath.Join(t.TempDir(), "it's.parquet")
	cols := []Column{{"n", "BIGINT"}, {"m", "MAP(VARCHAR, VARCHAR)"}, {"s", "STRUCT(a VARCHAR, b BIGINT[])"}}
	row := func(n int64, text string) Part {
		return func(_ context.Context, emit func([]any) error) error {
			return emit([]any{n, Map{"k": text}, map[string]any{"a": text, "b": []any{n}}})
		}
	}
	if err := e.WriteParquet(t.Context(), file, Relation{Name: "r", Columns: cols, Parts: []Part{row(1, "x")}}); err != nil {
		t.Fatal(err)
	}
	rel := Relation{Name: "r", Columns: cols, Parquet: []File{{Path: file}}, Parts: []Part{row(2, "y")}}
	got, err := query(t, e, `SELECT "n", "m"['k'], "s"."a", "s"."b"[1] FROM "r" ORDER BY 1`, rel)
	if err != nil || !strings.HasSuffix(got, "; 1 x x 1; 2 y y 2") {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := query(t, e, `SELECT count(*) FROM "r"`, Relation{Name: "r", Parquet: rel.Parquet, Parts: []Part{func(_ context.Context, emit func([]any) error) error {
		return emit(nil)
	}}}); err != nil || !strings.HasSuffix(got, "; 2") {
		t.Errorf("no columns: %s, %v", got, err)
	}
}
