package duckdb

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ask is query for an owner.
func ask(ctx context.Context, e *Engine, owner, sql string, rels ...Relation) error {
	return e.QueryAs(ctx, owner, sql, rels, func([]ResultColumn) error { return nil }, func([]any) error { return nil })
}

// idle are the instances that wait.
func idle(e *Engine) []*instance {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]*instance(nil), e.idle...)
}

// packRelation is a relation over whole packs.
func packRelation(name string, packs ...string) Relation {
	r := Relation{Name: name, Columns: packColumns}
	for _, p := range packs {
		r.Stretches = append(r.Stretches, Stretch{Pack: p})
	}
	return r
}

// TestInstances: which queries find the instance of one before them.
func TestInstances(t *testing.T) {
	t.Parallel()
	maker := newEngine(t)
	one, two := writePack(t, maker, 1, 2), writePack(t, maker, 1)
	parquet := filepath.Join(t.TempDir(), "x.parquet")
	writeParquet(t, parquet)
	mixed := packRelation("r", one)
	mixed.Stretches = append(mixed.Stretches, Stretch{Parts: []Part{rowsOf(9, 1)}})
	const count = `SELECT count(*) FROM "r"`
	first := packRelation("r", one, two)
	for name, tc := range map[string]struct {
		owner string
		rels  []Relation
		kept  bool // an instance waits afterwards
		same  bool // it is the first query's
	}{
		"the same":                {"me", []Relation{first}, true, true},
		"in another order":        {"me", []Relation{packRelation("r", two, one)}, true, true},
		"in several relations":    {"me", []Relation{packRelation("r", two), packRelation("s", one, two)}, true, true},
		"of somebody else":        {"you", []Relation{first}, true, false},
		"of an owner beside":      {"me'", []Relation{first}, true, false},
		"of nobody":               {"", []Relation{first}, false, false},
		"over fewer packs":        {"me", []Relation{packRelation("r", one)}, true, false},
		"over parts too":          {"me", []Relation{mixed}, false, false},
		"over files":              {"me", []Relation{{Name: "r", Columns: []Column{{"n", "INTEGER"}}, Parquet: []File{{Path: parquet}}}}, false, false},
		"over files beside packs": {"me", []Relation{first, {Name: "s", Columns: []Column{{"n", "INTEGER"}}, Parquet: []File{{Path: parquet}}}}, false, false},
		"over parts alone":        {"me", []Relation{{Name: "r", Columns: packColumns, Parts: []Part{rowsOf(9, 1)}}}, false, false},
		"over an empty relation":  {"me", []Relation{{Name: "r", Columns: packColumns}}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			if err := ask(t.Context(), e, "me", count, first); err != nil {
				t.Fatal(err)
			}
			was := idle(e)
			if len(was) != 1 {
				t.Fatalf("%d instances wait after the first query", len(was))
			}
			if err := ask(t.Context(), e, tc.owner, count, tc.rels...); err != nil {
				t.Fatal(err)
			}
			now := idle(e)
			if want := map[bool]int{true: 1, false: 2}[tc.same || !tc.kept]; len(now) != want {
				t.Errorf("%d instances wait, want %d", len(now), want)
			}
			if now[0] != was[0] {
				t.Error("the first instance is gone")
			}
		})
	}
}

// TestNothingIsLeft: what a query does to its instance is not there for the
// next one, whatever the SQL.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	one := writePack(t, e, 1, 2)
	mine := packRelation("mine", one)
	for name, tc := range map[string]struct {
		sql  string
		kept bool
	}{
		"a query":              {`SELECT * FROM "mine"`, true},
		"no row":               {`SELECT * FROM "mine" LIMIT 0`, true},
		"a seed":               {"SELECT setseed(0.5)", true},
		"a log":                {"SELECT * FROM enable_logging()", false},
		"a log in a file":      {"SELECT * FROM enable_logging(storage = 'file')", false},
		"another parser":       {"SELECT * FROM enable_peg_parser()", false},
		"a failure":            {`SELECT error('no') FROM "mine"`, false},
		"no such table":        {`SELECT * FROM "yours"`, false},
		"what is not a query":  {"SET threads = 1", false},
		"another's connection": {`CREATE VIEW v AS SELECT 1`, false},
	} {
		owner := "owner of " + name
		err := ask(t.Context(), e, owner, tc.sql, mine)
		kept := false
		for _, in := range idle(e) {
			kept = kept || strings.Contains(in.key, owner)
		}
		if kept != tc.kept {
			t.Errorf("%s: kept is %t (%v)", name, kept, err)
		}
		// The next query's relation has another name; the first one's is gone, and so
		// is what a log would have.
		var rows int
		again := packRelation("again", one)
		err = e.QueryAs(t.Context(), owner, `SELECT (SELECT count(*) FROM "again"), (SELECT count(*) FROM duckdb_views() WHERE NOT internal), (SELECT count(*) FROM duckdb_logs()), 7 / 2, current_setting('TimeZone'), (SELECT count(*) FROM duckdb_connection_count() WHERE count > 1)`,
			[]Relation{again}, func([]ResultColumn) error { return nil }, func(row []any) error {
				rows++
				if row[0] != int64(3) || row[1] != int64(1) || row[2] != int64(0) || row[3] != int32(3) || row[4] != "UTC" {
					t.Errorf("%s: the next query found %v", name, row)
				}
				return nil
			})
		if err != nil || rows != 1 {
			t.Errorf("%s: %d rows, %v", name, rows, err)
		}
		if err := ask(t.Context(), e, owner, `SELECT * FROM "mine"`, again); err == nil {
			t.Errorf("%s: the relation of the first query is there still", name)
		}
	}
}

// TestCancelledInstance: a query that was cancelled, or whose taker gave up,
// leaves no instance.
func TestCancelledInstance(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	r := packRelation("r", writePack(t, e, 1, 2))
	ctx, cancel := context.WithCancel(t.Context())
	err := e.QueryAs(ctx, "me", `SELECT * FROM "r"`, []Relation{r}, func([]ResultColumn) error { cancel(); return nil }, func([]any) error { return ctx.Err() })
	if !errors.Is(err, context.Canceled) || len(idle(e)) != 0 {
		t.Errorf("after a cancelled query %d instances wait (%v)", len(idle(e)), err)
	}
	enough := errors.New("enough")
	err = e.QueryAs(t.Context(), "me", `SELECT * FROM "r"`, []Relation{r}, func([]ResultColumn) error { return nil }, func([]any) error { return enough })
	if !errors.Is(err, enough) || len(idle(e)) != 0 {
		t.Errorf("after a query that was not read to its end %d instances wait (%v)", len(idle(e)), err)
	}
}

// TestIdleInstances: only so many wait, only so long, and none outlives its
// engine; their directories go with them.
func TestIdleInstances(t *testing.T) {
	t.Parallel()
	e := New(Config{MemoryMB: 256, Threads: 2, TempDir: filepath.Join(t.TempDir(), "tmp")})
	r := packRelation("r", writePack(t, e, 1))
	spills := func() int {
		left, err := os.ReadDir(e.cfg.TempDir)
		if err != nil {
			t.Fatal(err)
		}
		return len(left)
	}
	for i := range maxIdle + 2 {
		if err := ask(t.Context(), e, strings.Repeat("x", i+1), `SELECT * FROM "r"`, r); err != nil {
			t.Fatal(err)
		}
	}
	waiting := idle(e)
	if len(waiting) != maxIdle || spills() != maxIdle || !strings.Contains(waiting[0].key, "'xxx'") {
		t.Errorf("%d instances wait, with %d directories", len(waiting), spills())
	}
	e.expire(waiting[1])
	e.expire(waiting[1]) // its time and a query may come together
	if n := len(idle(e)); n != maxIdle-1 || spills() != n {
		t.Errorf("%d instances wait, with %d directories", n, spills())
	}
	if err := e.Close(); err != nil || len(idle(e)) != 0 {
		t.Errorf("%d instances outlive the engine (%v)", len(idle(e)), err)
	}
	if _, err := os.Stat(e.cfg.TempDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}

// BenchmarkPacks is a query over a small pack, in the instance that its owner's
// last one left, and in one of its own.
func BenchmarkPacks(b *testing.B) {
	for _, owner := range []string{"me", ""} {
		b.Run(map[bool]string{true: "warm", false: "new"}[owner != ""], func(b *testing.B) {
			e := New(Config{MemoryMB: 256, Threads: 2, TempDir: filepath.Join(b.TempDir(), "tmp")})
			defer e.Close()
			r := packRelation("r", writePack(b, e, 100, 200))
			for b.Loop() {
				if err := ask(b.Context(), e, owner, `SELECT count(*) FROM "r"`, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
