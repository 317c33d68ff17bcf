package duckdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	engine "github.com/duckdb/duckdb-go/v2"
)

// Column is a column of a relation, with DuckDB's type.
type Column struct{ Name, Type string }

// Part reads one part of a relation (a file) and hands each row to emit, whose
// slice it may reuse. It returns what emit returns at once: an error there
// means that no more rows are wanted.
type Part func(ctx context.Context, emit func(row []any) error) error

// File is a Parquet file of a relation, by absolute path, and its values of
// the relation's Extra columns.
type File struct {
	Path   string
	Values []string
}

// Relation is a table that a query may name: its Parquet files and its Parts.
// One with neither is empty; one with both has no Extra.
type Relation struct {
	Name    string
	Columns []Column
	// Parts are read in order, several at a time. Values are of Go types that
	// fit the columns: string, bool, integers, floats, []byte, time.Time,
	// Decimal, []any, Map, map[string]any with every field of a struct, nil.
	Parts []Part
	// Parquet are files to read. Their columns are found by name, whatever its
	// case; one that no file has is NULL.
	Parquet []File
	// Extra are further columns of a Parquet relation, whose values each File
	// gives; of Stretches, each Source.
	Extra []Column
	// Stretches are the rows in order, instead of Parts and Parquet.
	Stretches []Stretch
	// Prefixes are prefixes of Columns, none of a Parquet relation.
	Prefixes []Prefix
}

// absent stands for the columns of a relation of which the query wants none:
// rows must be counted all the same.
var absent = Column{Name: "$", Type: "BOOLEAN"}

// load makes a relation known to the engine under its name.
func load(ctx context.Context, conn *sql.Conn, r *Relation, s *scans) error {
	switch {
	case len(r.Prefixes) > 0 && len(r.Parquet) > 0:
		return fmt.Errorf("relation %s has files and prefixes", r.Name)
	case len(r.Stretches) > 0:
		return loadStretches(ctx, conn, r, s)
	case len(r.Parquet) > 0 && len(r.Parts) > 0:
		return loadBoth(ctx, conn, r, s)
	case len(r.Parquet) > 0:
		return loadParquet(ctx, conn, r)
	}
	return loadParts(ctx, conn, r, s)
}

// loadBoth makes a view over the files and the parts.
func loadBoth(ctx context.Context, conn *sql.Conn, r *Relation, s *scans) error {
	if len(r.Extra) > 0 {
		return fmt.Errorf("relation %s has files, parts and extra columns", r.Name)
	}
	files, parts := *r, *r
	files.Name, files.Parts = r.Name+" in files", nil
	parts.Name, parts.Parquet = r.Name+" in parts", nil
	if err := loadParquet(ctx, conn, &files); err != nil {
		return err
	}
	if err := loadParts(ctx, conn, &parts, s); err != nil {
		return err
	}
	return exec(ctx, conn, "CREATE TEMP VIEW "+ident(r.Name)+" AS SELECT * FROM "+ident(files.Name)+" UNION ALL SELECT * FROM "+ident(parts.Name))
}

// exec runs a statement of the engine's own making over users' names and
// types: its failure is the query's.
func exec(ctx context.Context, conn *sql.Conn, statement string) error {
	if _, err := conn.ExecContext(ctx, statement); err != nil {
		return failure(ctx, err)
	}
	return nil
}

// loadParts makes a view over a table function that reads the parts.
func loadParts(ctx context.Context, conn *sql.Conn, r *Relation, s *scans) error {
	cols := append(slices.Clone(r.Columns), r.Extra...)
	if len(cols) == 0 {
		cols = []Column{absent}
	}
	infos, err := typeInfos(conn, cols)
	if err != nil {
		return failure(ctx, err)
	}
	src := &source{scans: s, parts: r.Parts, columns: infos, width: len(r.Columns)}
	function := "scan " + r.Name
	err = engine.RegisterTableUDF(conn, function, engine.ParallelChunkTableFunction{
		BindArguments: func(map[string]any, ...any) (engine.ParallelChunkTableSource, error) { return &scan{source: src}, nil },
	})
	if err != nil {
		return fmt.Errorf("making relation %s: %w", r.Name, err)
	}
	items := "*"
	for _, p := range r.Prefixes {
		items += ", " + ident(p.Of) + " AS " + ident(p.Column())
	}
	return exec(ctx, conn, "CREATE TEMP VIEW "+ident(r.Name)+" AS SELECT "+items+" FROM "+ident(function)+"()")
}

// typeInfos asks the engine what its names of types mean.
func typeInfos(conn *sql.Conn, cols []Column) ([]engine.ColumnInfo, error) {
	items := make([]string, len(cols))
	for i, c := range cols {
		items[i] = "CAST(NULL AS " + c.Type + ")"
	}
	out := make([]engine.ColumnInfo, len(cols))
	return out, raw(conn, func(c *engine.Conn) error {
		stmt, err := prepareQuery(c, "SELECT "+strings.Join(items, ", "))
		if err != nil {
			return err
		}
		for i, c := range cols {
			t, err := stmt.ColumnTypeInfo(i)
			if err != nil {
				return errors.Join(fmt.Errorf("finding the type of column %s: %w", c.Name, err), stmt.Close())
			}
			out[i] = engine.ColumnInfo{Name: c.Name, T: t}
		}
		return stmt.Close()
	})
}

// fileColumn is the column that says which file a row is from.
const fileColumn = "$file"

// loadParquet makes a view over the files, joined with their Extra values.
func loadParquet(ctx context.Context, conn *sql.Conn, r *Relation) error {
	paths := make([]string, len(r.Parquet))
	for i, f := range r.Parquet {
		paths[i] = quote(f.Path)
	}
	from := "read_parquet([" + strings.Join(paths, ", ") + "], union_by_name=true, filename=" + quote(fileColumn) + ") AS f"
	have, err := parquetColumns(ctx, conn, from)
	if err != nil {
		return err
	}
	var items []string
	for _, c := range r.Columns {
		src, ok := have[strings.ToLower(c.Name)]
		switch {
		case !ok:
			items = append(items, "CAST(NULL AS "+c.Type+") AS "+ident(c.Name))
		case src.Type == c.Type: // without a cast, comparisons skip row groups
			items = append(items, "f."+ident(src.Name)+" AS "+ident(c.Name))
		default:
			items = append(items, "CAST(f."+ident(src.Name)+" AS "+c.Type+") AS "+ident(c.Name))
		}
	}
	if len(r.Extra) > 0 {
		extra := r.Name + " files"
		if err := loadExtra(ctx, conn, r, extra); err != nil {
			return err
		}
		from += " JOIN " + ident(extra) + " AS x ON x." + ident(fileColumn) + " = f." + ident(fileColumn)
		for _, c := range r.Extra {
			items = append(items, "x."+ident(c.Name))
		}
	}
	if len(items) == 0 {
		items = []string{"TRUE AS " + ident(absent.Name)}
	}
	return exec(ctx, conn, "CREATE TEMP VIEW "+ident(r.Name)+" AS SELECT "+strings.Join(items, ", ")+" FROM "+from)
}

// loadExtra writes the files' values of the Extra columns into a table.
func loadExtra(ctx context.Context, conn *sql.Conn, r *Relation, table string) error {
	names := []string{ident(fileColumn)}
	for _, c := range r.Extra {
		names = append(names, ident(c.Name))
	}
	rows := make([]string, len(r.Parquet))
	for i, f := range r.Parquet {
		if len(f.Values) != len(r.Extra) {
			return fmt.Errorf("a file of relation %s has %d values for %d columns", r.Name, len(f.Values), len(r.Extra))
		}
		row := []string{quote(f.Path)}
		for k, v := range f.Values {
			row = append(row, "CAST("+quote(v)+" AS "+r.Extra[k].Type+")")
		}
		rows[i] = "(" + strings.Join(row, ", ") + ")"
	}
	return exec(ctx, conn, "CREATE TEMP TABLE "+ident(table)+" AS SELECT * FROM (VALUES "+strings.Join(rows, ", ")+") AS v("+strings.Join(names, ", ")+")")
}

// parquetColumns are the files' columns by their lower-case names.
func parquetColumns(ctx context.Context, conn *sql.Conn, from string) (map[string]Column, error) {
	rows, err := conn.QueryContext(ctx, "SELECT * FROM "+from+" LIMIT 0")
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// The engine's text names files of the host.
		return nil, &Error{Message: "HIVE_CANNOT_OPEN_SPLIT: a file of the table is not a valid Parquet file"}
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, fmt.Errorf("reading a file's columns: %w", err)
	}
	out := map[string]Column{}
	for _, t := range types {
		out[strings.ToLower(t.Name())] = Column{t.Name(), t.DatabaseTypeName()}
	}
	return out, rows.Err()
}

// scans is what the scans of one query share.
type scans struct {
	ctx   context.Context // ends the readers
	ahead int             // parts that one scan reads at a time
	group sync.WaitGroup

	mu     sync.Mutex
	failed error // the first reader's error
}

func (s *scans) wait() { s.group.Wait() }

func (s *scans) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

func (s *scans) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// source is a relation of parts.
type source struct {
	scans   *scans
	parts   []Part
	columns []engine.ColumnInfo
	width   int // values of a row; 0 for a relation of which no column is wanted
}

// scan is one reading of a source. Parts are read ahead by goroutines of their
// own and delivered in order.
type scan struct {
	*source
	queue chan *stream // in the parts' order

	mu      sync.Mutex
	current *stream
}

// stream is a part being read.
type stream struct {
	batches chan *batch
	err     error // set before batches is closed
}

// batch is up to a chunk of rows, one after the other.
type batch struct {
	values []any
	rows   int
}

var _ engine.ParallelChunkTableSource = (*scan)(nil)

func (s *scan) ColumnInfos() []engine.ColumnInfo     { return s.columns }
func (s *scan) Cardinality() *engine.CardinalityInfo { return nil }
func (s *scan) NewLocalState() any                   { return s }

// Init starts the readers. The engine calls it once for each time that it
// reads the relation.
func (s *scan) Init() engine.ParallelTableSourceInfo {
	queue := make(chan *stream, s.scans.ahead)
	s.mu.Lock()
	s.queue, s.current = queue, nil
	s.mu.Unlock()
	ctx := s.scans.ctx
	s.scans.group.Go(func() {
		defer close(queue)
		for _, p := range s.parts {
			st := &stream{batches: make(chan *batch, 2)}
			select {
			case queue <- st:
			case <-ctx.Done():
				return
			}
			s.scans.group.Go(func() {
				defer close(st.batches)
				if st.err = s.read(ctx, p, st); st.err != nil && ctx.Err() == nil {
					s.scans.fail(st.err)
				}
			})
		}
	})
	return engine.ParallelTableSourceInfo{MaxThreads: s.scans.ahead}
}

// read reads a part into batches.
func (s *scan) read(ctx context.Context, p Part, st *stream) error {
	size := engine.GetDataChunkCapacity()
	b := &batch{}
	send := func() error {
		select {
		case st.batches <- b:
			b = &batch{values: make([]any, 0, cap(b.values))}
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	err := p(ctx, func(row []any) error {
		if len(row) != s.width {
			return fmt.Errorf("a row has %d values for %d columns", len(row), s.width)
		}
		b.values = append(b.values, row...)
		if b.rows++; b.rows == size {
			return send()
		}
		return nil
	})
	if err == nil && b.rows > 0 {
		err = send()
	}
	return err
}

// next is the next batch, or nil at the end.
func (s *scan) next() (*batch, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.current == nil {
			select {
			case st, ok := <-s.queue:
				if !ok {
					return nil, s.scans.ctx.Err()
				}
				s.current = st
			case <-s.scans.ctx.Done():
				return nil, s.scans.ctx.Err()
			}
		}
		if b, ok := <-s.current.batches; ok {
			return b, nil
		}
		if err := s.current.err; err != nil {
			return nil, err
		}
		s.current = nil
	}
}

// FillChunk hands the engine the next rows.
func (s *scan) FillChunk(_ any, chunk engine.DataChunk) error {
	b, err := s.next()
	if err != nil {
		return err
	}
	if b == nil {
		return chunk.SetSize(0)
	}
	for i, v := range b.values {
		row, col := i/s.width, i%s.width
		if err := chunk.SetValue(col, row, v); err != nil {
			return fmt.Errorf("column %s: %w", s.columns[col].Name, err)
		}
	}
	if s.width == 0 {
		for row := range b.rows {
			if err := chunk.SetValue(0, row, nil); err != nil {
				return err
			}
		}
	}
	return chunk.SetSize(b.rows)
}
