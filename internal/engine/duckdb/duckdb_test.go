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
		Rows: func(_ context.Context, emit func([]any) error) error {
			return errors.Join(
				emit([]any{int64(1), map[string]any{"x": "one", "y": []any{int32(1), int32(2)}}, Map{"k": "v"}}),
				emit([]any{nil, nil, nil}))
		}}
	got, err := query(t, e, `SELECT "a", struct_extract("s", 'x') AS x, len(struct_extract("s", 'y')) AS n, "m"['k'] AS k FROM "r" ORDER BY 1`, rel)
	if err != nil || got != "a:BIGINT; x:VARCHAR; n:BIGINT; k:VARCHAR; 1 one 2 v; <nil> <nil> <nil> <nil>" {
		t.Errorf("%s, %v", got, err)
	}
	if got, err = query(t, e, `SELECT count(*) FROM "r"`, Relation{Name: "r", Rows: func(_ context.Context, emit func([]any) error) error { return errors.Join(emit(nil), emit(nil)) }}); err != nil || !strings.HasSuffix(got, "; 2") {
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
		"SET lock_configuration=false", "EXPORT DATABASE '" + dir + "/export'", "IMPORT DATABASE '" + dir + "'", "SELECT getenv('HOME')",
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
	rel := Relation{Name: "p", Columns: []Column{{"n", "BIGINT"}, {"name", "VARCHAR"}, {"absent", "DATE"}}, Parquet: []string{file},
		Extra: []Column{{"day", "VARCHAR"}}, Constants: map[string][]string{file: {"2024/01/01"}}}
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
	rel := Relation{Name: "r", Columns: []Column{{"a", "BIGINT"}}, Rows: func(_ context.Context, emit func([]any) error) error {
		cancel()
		return emit([]any{int64(1)})
	}}
	err := e.Query(ctx, `SELECT count(*) FROM range(100000000000) AS x(i) WHERE i % 7 = 3`, []Relation{rel}, func([]ResultColumn) error { return nil }, func([]any) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled query ended with %v", err)
	}
}
