// Package duckdb is the embedded SQL engine, and the only importer of DuckDB's
// driver. Athena hands it rewritten queries and their relations while a query
// runs; it gives back typed rows.
//
// Every query runs in an in-memory database of its own, whose access to files
// is switched off but for the Parquet files that the query's relations name,
// and whose settings are locked. So a query reaches its relations and nothing
// else of the host, even if its SQL said otherwise.
package duckdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	engine "github.com/duckdb/duckdb-go/v2"
)

// Config bounds an Engine.
type Config struct {
	MemoryMB int    // of one query; beyond it DuckDB spills to TempDir
	Threads  int    // of one query
	TempDir  string // for spilling; made at the first query
}

// Engine runs queries. It is safe for concurrent use and holds nothing between
// queries.
type Engine struct {
	cfg  Config
	once sync.Once
	err  error
}

// New makes an engine; nothing is opened before the first query.
func New(cfg Config) *Engine { return &Engine{cfg: cfg} }

// Close removes what queries spilled.
func (e *Engine) Close() error { return os.RemoveAll(e.cfg.TempDir) }

// Column is a column of a relation, with DuckDB's type.
type Column struct{ Name, Type string }

// Relation is a table that a query may name.
type Relation struct {
	Name    string
	Columns []Column
	// Rows yields the relation's rows: values of Go types that fit the columns
	// (string, bool, int64, float64, time.Time, []any, map[string]any for rows,
	// Map for maps, nil). nil for a relation of Parquet files.
	Rows func(ctx context.Context, emit func(row []any) error) error
	// Parquet are files to read, by absolute path. Columns are found by name,
	// whatever their case; one that a file lacks is NULL.
	Parquet []string
	// Constants are further columns of a Parquet relation: the path to a file's
	// values, in the order of Extra.
	Extra     []Column
	Constants map[string][]string
}

// Map is a value of DuckDB's MAP.
type Map = engine.Map

// Decimal and Interval are values as DuckDB's driver gives them.
type (
	Decimal  = engine.Decimal
	Interval = engine.Interval
	UUID     = engine.UUID
)

// Error is a failure of the query itself, with DuckDB's text.
type Error struct{ Message string }

func (e *Error) Error() string { return e.Message }

// ResultColumn is a column of a result, with DuckDB's name of its type.
type ResultColumn struct{ Name, Type string }

// Query runs sql over the relations. columns is called once, then row for each
// row; an error of theirs ends the query.
func (e *Engine) Query(ctx context.Context, query string, relations []Relation, columns func([]ResultColumn) error, row func([]any) error) error {
	e.once.Do(func() { e.err = os.MkdirAll(e.cfg.TempDir, 0o700) })
	if e.err != nil {
		return fmt.Errorf("creating the engine's directory: %w", e.err)
	}
	connector, err := engine.NewConnector("", nil)
	if err != nil {
		return fmt.Errorf("opening the engine: %w", err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("opening the engine: %w", err)
	}
	defer conn.Close()
	if err := e.prepare(ctx, conn, relations); err != nil {
		return err
	}
	for i := range relations {
		if err := load(ctx, conn, &relations[i]); err != nil {
			return err
		}
	}
	if _, err := conn.ExecContext(ctx, "SET lock_configuration=true"); err != nil {
		return fmt.Errorf("locking the engine: %w", err)
	}
	return run(ctx, conn, query, columns, row)
}

// prepare sets what a query needs and takes everything else away.
func (e *Engine) prepare(ctx context.Context, conn *sql.Conn, relations []Relation) error {
	settings := []string{
		fmt.Sprintf("SET memory_limit='%dMB'", e.cfg.MemoryMB),
		fmt.Sprintf("SET threads=%d", max(1, e.cfg.Threads)),
		"SET temp_directory=" + quote(e.cfg.TempDir),
		"SET TimeZone='UTC'",
		"SET integer_division=true",
		"SET preserve_insertion_order=true",
		"SET autoinstall_known_extensions=false",
		"SET autoload_known_extensions=false",
		"SET allow_community_extensions=false",
		"SET python_enable_replacements=false",
	}
	var files []string
	for _, r := range relations {
		for _, p := range r.Parquet {
			files = append(files, quote(p))
		}
	}
	if len(files) > 0 {
		settings = append(settings, "SET allowed_paths=["+strings.Join(files, ", ")+"]")
	}
	settings = append(settings, "SET enable_external_access=false")
	for _, s := range settings {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			if strings.Contains(s, "python_") {
				continue // a setting of builds with Python only
			}
			return fmt.Errorf("preparing the engine: %w", err)
		}
	}
	return nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
func ident(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// load makes a relation: a temporary table of its rows, or a view of its files.
func load(ctx context.Context, conn *sql.Conn, r *Relation) error {
	if r.Rows == nil {
		return loadParquet(ctx, conn, r)
	}
	cols := make([]string, len(r.Columns))
	for i, c := range r.Columns {
		cols[i] = ident(c.Name) + " " + c.Type
	}
	if len(cols) == 0 {
		// A query that uses no column still counts rows.
		cols = []string{`"$" BOOLEAN`}
	}
	if _, err := conn.ExecContext(ctx, "CREATE TEMP TABLE "+ident(r.Name)+" ("+strings.Join(cols, ", ")+")"); err != nil {
		return fmt.Errorf("making relation %s: %w", r.Name, err)
	}
	return conn.Raw(func(raw any) error {
		dc, ok := raw.(driver.Conn)
		if !ok {
			return errors.New("the engine's connection has another type")
		}
		app, err := engine.NewAppender(dc, "temp", "main", r.Name)
		if err != nil {
			return fmt.Errorf("loading relation %s: %w", r.Name, err)
		}
		values := make([]driver.Value, max(1, len(r.Columns)))
		err = r.Rows(ctx, func(row []any) error {
			for i, v := range row {
				values[i] = v
			}
			return app.AppendRow(values...)
		})
		return errors.Join(err, app.Close())
	})
}

func loadParquet(ctx context.Context, conn *sql.Conn, r *Relation) error {
	if len(r.Parquet) == 0 {
		cols := make([]string, 0, len(r.Columns)+len(r.Extra))
		for _, c := range append(append([]Column(nil), r.Columns...), r.Extra...) {
			cols = append(cols, ident(c.Name)+" "+c.Type)
		}
		_, err := conn.ExecContext(ctx, "CREATE TEMP TABLE "+ident(r.Name)+" ("+strings.Join(cols, ", ")+")")
		return err
	}
	var parts []string
	for _, file := range r.Parquet {
		have, err := parquetColumns(ctx, conn, file)
		if err != nil {
			return err
		}
		var items []string
		for _, c := range r.Columns {
			src, ok := have[strings.ToLower(c.Name)]
			if !ok {
				items = append(items, "CAST(NULL AS "+c.Type+") AS "+ident(c.Name))
				continue
			}
			items = append(items, "CAST("+ident(src)+" AS "+c.Type+") AS "+ident(c.Name))
		}
		for i, c := range r.Extra {
			items = append(items, "CAST("+quote(r.Constants[file][i])+" AS "+c.Type+") AS "+ident(c.Name))
		}
		parts = append(parts, "SELECT "+strings.Join(items, ", ")+" FROM read_parquet("+quote(file)+")")
	}
	if _, err := conn.ExecContext(ctx, "CREATE TEMP VIEW "+ident(r.Name)+" AS "+strings.Join(parts, " UNION ALL ")); err != nil {
		return &Error{Message: err.Error()}
	}
	return nil
}

// parquetColumns are a file's columns by their lower-case names.
func parquetColumns(ctx context.Context, conn *sql.Conn, file string) (map[string]string, error) {
	rows, err := conn.QueryContext(ctx, "SELECT * FROM read_parquet("+quote(file)+") LIMIT 0")
	if err != nil {
		return nil, &Error{Message: "a file is no Parquet file"}
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, fmt.Errorf("reading a file's columns: %w", err)
	}
	out := map[string]string{}
	for _, n := range names {
		out[strings.ToLower(n)] = n
	}
	return out, rows.Err()
}

func run(ctx context.Context, conn *sql.Conn, query string, columns func([]ResultColumn) error, row func([]any) error) error {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return failure(ctx, err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return fmt.Errorf("reading the result's columns: %w", err)
	}
	cols := make([]ResultColumn, len(types))
	values, ptrs := make([]any, len(types)), make([]any, len(types))
	for i, t := range types {
		cols[i] = ResultColumn{t.Name(), t.DatabaseTypeName()}
		ptrs[i] = &values[i]
	}
	if err := columns(cols); err != nil {
		return err
	}
	for rows.Next() {
		if err := rows.Scan(ptrs...); err != nil {
			return fmt.Errorf("reading a row: %w", err)
		}
		if err := row(values); err != nil {
			return err
		}
	}
	return failure(ctx, rows.Err())
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
	var de *engine.Error
	if errors.As(err, &de) {
		return &Error{Message: de.Msg}
	}
	return fmt.Errorf("running a query: %w", err)
}
