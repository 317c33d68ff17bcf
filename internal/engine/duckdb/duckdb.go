// Package duckdb is the embedded SQL engine, and the only importer of DuckDB's
// driver. Athena hands it rewritten queries and their relations while a query
// runs; it gives back typed rows.
//
// Every query runs in an in-memory database whose access to files is switched
// off but for the Parquet files that the query's relations name, and whose
// settings are locked. It is the query's own, or, over packs, its owner's. Only a single SELECT is run at all: the
// engine's list of allowed files does not tell reading from writing. So a query
// reaches its relations and nothing else of the host, even if its SQL said
// otherwise.
//
// Rows that Go code reads (JSON, CSV, CloudTrail's files) stream into the
// engine while it runs, several files ahead; nothing is copied into a table
// first.
package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	engine "github.com/duckdb/duckdb-go/v2"
)

// Config bounds an Engine.
type Config struct {
	MemoryMB int // of one query; beyond it DuckDB spills to TempDir
	Threads  int // of one query
	// TempDir is where queries spill, each into a directory of its own. It is
	// the engine's alone: made at the first query, and emptied then.
	TempDir string
}

// Engine runs queries. It is safe for concurrent use.
type Engine struct {
	cfg  Config
	once sync.Once
	err  error
	// spare is an empty database for the next query: to make one takes longer
	// than many a query does.
	spare  chan *engine.Connector
	making sync.WaitGroup

	mu     sync.Mutex
	idle   []*instance // wait for another query of their owner's, the longest first
	closed bool
}

// New makes an engine; nothing is opened before the first query.
func New(cfg Config) *Engine {
	cfg.Threads = max(1, cfg.Threads)
	return &Engine{cfg: cfg, spare: make(chan *engine.Connector, 1)}
}

// Close removes what queries spilled. No query is under way.
func (e *Engine) Close() error {
	err := e.closeIdle()
	e.making.Wait()
	select {
	case c := <-e.spare:
		err = errors.Join(err, c.Close())
	default:
	}
	return errors.Join(err, os.RemoveAll(e.cfg.TempDir))
}

// Values as DuckDB's driver takes and gives them. It takes a Map and gives an
// OrderedMap.
type (
	Map        = engine.Map
	OrderedMap = engine.OrderedMap
	Decimal    = engine.Decimal
	Interval   = engine.Interval
	UUID       = engine.UUID
)

// Error is a failure of the query itself, with DuckDB's text.
type Error struct{ Message string }

func (e *Error) Error() string { return e.Message }

// errNoQuery is what becomes of a statement that is no query.
var errNoQuery = &Error{Message: "only a single query can be run"}

// ResultColumn is a column of a result, with DuckDB's name of its type.
type ResultColumn struct{ Name, Type string }

// Query runs one SELECT over the relations. columns is called once, then row for
// each row, whose slice is reused; an error of theirs ends the query. A query
// that ctx ends returns ctx's error.
func (e *Engine) Query(ctx context.Context, query string, relations []Relation, columns func([]ResultColumn) error, row func([]any) error) error {
	return e.QueryAs(ctx, "", query, relations, columns, row)
}

// QueryAs is Query for an owner, who is whoever may know all that the query
// reads: over packs alone, the owner's next query of the same packs may find the
// database warm that this one leaves. Without an owner nothing is left.
func (e *Engine) QueryAs(ctx context.Context, owner, query string, relations []Relation, columns func([]ResultColumn) error, row func([]any) error) error {
	return e.open(ctx, owner, e.cfg.Threads, relations, func(c *engine.Conn) error {
		stmt, err := prepareQuery(c, query)
		if err != nil {
			return failure(ctx, err)
		}
		return run(ctx, stmt, columns, row)
	})
}

// parquetOptions make files of which a row group fits into a core's caches: with
// the engine's own size, 122880 rows, wide rows take twice the CPU time to write.
// Level 1 takes less time and, on events, less space than the default of 3.
const parquetOptions = "FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE 20480"

// WriteParquet writes the rows of a relation into a Parquet file, which must
// not exist. The file is whole and not yet synced when it returns nil; after an
// error there may be a part of one.
func (e *Engine) WriteParquet(ctx context.Context, path string, r Relation) error {
	return e.copyTo(ctx, e.cfg.Threads, path, "SELECT * FROM "+ident(r.Name), parquetOptions, r)
}

func (e *Engine) copyTo(ctx context.Context, threads int, path, query, options string, r Relation) error {
	return e.open(ctx, "", threads, []Relation{r}, func(c *engine.Conn) error {
		if _, err := c.ExecContext(ctx, "COPY ("+query+") TO "+quote(path)+" ("+options+")", nil); err != nil {
			return failure(ctx, err)
		}
		return nil
	}, path)
}

// Explain gives the lines of the engine's plan for one SELECT. Relations need
// no rows for it; their Parts are not read.
func (e *Engine) Explain(ctx context.Context, query string, relations []Relation) ([]string, error) {
	var out []string
	err := e.open(ctx, "", e.cfg.Threads, relations, func(c *engine.Conn) error {
		stmt, err := prepareQuery(c, query)
		if err != nil {
			return failure(ctx, err)
		}
		if err := stmt.Close(); err != nil {
			return fmt.Errorf("closing a statement: %w", err)
		}
		prepared, err := c.Prepare("EXPLAIN " + query)
		if err != nil {
			return failure(ctx, err)
		}
		explain, ok := prepared.(*engine.Stmt)
		if !ok {
			return errors.Join(fmt.Errorf("the engine's statement is a %T", prepared), prepared.Close())
		}
		return run(ctx, explain, func([]ResultColumn) error { return nil }, func(row []any) error {
			if text, ok := row[len(row)-1].(string); ok {
				out = append(out, strings.Split(strings.TrimRight(text, "\n"), "\n")...)
			}
			return nil
		})
	})
	return out, err
}

// open gives fn a connection to a locked database with the relations. Of the
// host's files it reaches the relations' and those in files.
func (e *Engine) open(ctx context.Context, owner string, threads int, relations []Relation, fn func(*engine.Conn) error, files ...string) (err error) {
	e.once.Do(e.makeTempDir)
	if e.err != nil {
		return e.err
	}
	in, err := e.take(ctx, keyOf(owner, threads, relations), threads, relations, files)
	if err != nil {
		return err
	}
	again := false
	defer func() {
		if again {
			err = errors.Join(err, e.give(in))
		} else {
			err = errors.Join(err, in.close())
		}
	}()
	conn, err := in.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("opening the engine: %w", err)
	}
	defer conn.Close()
	reading, stop := context.WithCancel(ctx)
	scans := &scans{ctx: reading, ahead: threads}
	// Readers end before the connection does.
	defer scans.wait()
	defer stop()
	for i := range relations {
		if err := load(ctx, conn, &relations[i], scans); err != nil {
			return err
		}
	}
	err = raw(conn, fn)
	// A reader's error comes back from the engine as text; this is the error
	// itself.
	if failed := scans.failure(); failed != nil && err != nil && ctx.Err() == nil {
		return failed
	}
	again = err == nil && in.reusable(ctx, conn)
	return err
}

func (e *Engine) makeTempDir() {
	// What a crash left behind is nobody's.
	if err := os.RemoveAll(e.cfg.TempDir); err != nil {
		e.err = fmt.Errorf("clearing the engine's directory: %w", err)
		return
	}
	if err := os.MkdirAll(e.cfg.TempDir, 0o700); err != nil {
		e.err = fmt.Errorf("creating the engine's directory: %w", err)
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// raw gives the driver's own connection to fn.
func raw(conn *sql.Conn, fn func(*engine.Conn) error) error {
	return conn.Raw(func(c any) error {
		dc, ok := c.(*engine.Conn)
		if !ok {
			return fmt.Errorf("the engine's connection is a %T", c)
		}
		return fn(dc)
	})
}

// run runs a prepared statement and closes it.
func run(ctx context.Context, stmt *engine.Stmt, columns func([]ResultColumn) error, row func([]any) error) error {
	rows, err := stmt.QueryContext(ctx, nil)
	if err != nil {
		return errors.Join(failure(ctx, err), stmt.Close())
	}
	return errors.Join(deliver(ctx, rows, columns, row), rows.Close(), stmt.Close())
}

// prepareQuery refuses whatever is not one query. It does not use the driver's
// PrepareContext, which runs all statements but the last.
func prepareQuery(c *engine.Conn, query string) (*engine.Stmt, error) {
	prepared, err := c.Prepare(query)
	if err != nil {
		return nil, err
	}
	stmt, ok := prepared.(*engine.Stmt)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the engine's statement is a %T", prepared), prepared.Close())
	}
	kind, err := stmt.StatementType()
	if err != nil {
		return nil, errors.Join(err, stmt.Close())
	}
	if kind != engine.STATEMENT_TYPE_SELECT {
		return nil, errors.Join(errNoQuery, stmt.Close())
	}
	return stmt, nil
}

func deliver(ctx context.Context, rows driver.Rows, columns func([]ResultColumn) error, row func([]any) error) error {
	typed, ok := rows.(driver.RowsColumnTypeDatabaseTypeName)
	if !ok {
		return errors.New("the engine's rows have no types")
	}
	names := rows.Columns()
	cols := make([]ResultColumn, len(names))
	for i, n := range names {
		cols[i] = ResultColumn{n, typed.ColumnTypeDatabaseTypeName(i)}
	}
	if err := columns(cols); err != nil {
		return err
	}
	values, out := make([]driver.Value, len(cols)), make([]any, len(cols))
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		err := rows.Next(values)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return failure(ctx, err)
		}
		for i, v := range values {
			out[i] = v
		}
		if err := row(out); err != nil {
			return err
		}
	}
}

// failure turns DuckDB's errors into the query's; a query that was cancelled
// fails with its context's error.
func failure(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var de *engine.Error
	if errors.As(err, &de) {
		return &Error{Message: de.Msg}
	}
	return fmt.Errorf("running a query: %w", err)
}
