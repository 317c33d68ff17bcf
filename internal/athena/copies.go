package athena

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"spoor/internal/athena/serde"
	"spoor/internal/athena/sql"
	"spoor/internal/columnar"
	"spoor/internal/engine/duckdb"
	"spoor/internal/glue"
)

// Tables over a trail's log files are read from the files' columnar copies
// where there are such. Objects are listed and the caller's rights asked for as
// without them, and what counts as scanned is the objects' size: a query's
// answer, record and statistics are the same either way.

// relation is a table as the engine reads it: with copies, and plain, from the
// objects alone.
type relation struct {
	duckdb.Relation
	copied *duckdb.Relation // nil where nothing has a copy
	// prefixes are those that the query takes where anything is copied.
	prefixes []duckdb.Prefix
	view     *columnar.View // nil for tables that have none
	// release lets go of a federated event data store; nil for others.
	release func()
}

type relations []relation

// hourOf is what a query of times by day or hour takes of them: the length of
// 2026-11-04T10.
const hourOf = 13

// prefixesOf are the prefixes that copies of a table's files have: of the time,
// which is another text in almost every record, while most questions want its
// day or hour.
func prefixesOf(t *glue.Table, columns []sql.Column) []duckdb.Prefix {
	format, err := serde.FormatOf(t)
	if err != nil || format != serde.CloudTrail {
		return nil
	}
	p := duckdb.Prefix{Of: "eventtime", Length: hourOf}
	found := false
	for i, c := range columns {
		switch {
		case strings.EqualFold(c.Name, p.Column()):
			return nil
		case i < len(t.Columns) && c.Name == p.Of && c.Type.Name == "varchar" && len(c.Type.Params) == 0:
			found = true
		}
	}
	if !found {
		return nil
	}
	return []duckdb.Prefix{p}
}

// takenPrefixes are those of a table's prefixes that a query takes.
func takenPrefixes(t *glue.Table, q *sql.Rewritten, own []duckdb.Column) (out []duckdb.Prefix, err error) {
	columns, err := tableColumns(t)
	if err != nil {
		return nil, err
	}
	for _, p := range prefixesOf(t, columns) {
		if mentions(q.Prefixed, p.Column()) && slices.ContainsFunc(own, func(c duckdb.Column) bool { return c.Name == p.Of }) {
			out = append(out, p)
		}
	}
	return out, nil
}

// withPrefixes tells the rewriting of the columns' prefixes.
func withPrefixes(columns []sql.Column, prefixes []duckdb.Prefix) {
	for _, p := range prefixes {
		for i := range columns {
			if columns[i].Name == p.Of {
				columns[i].Prefix = sql.Prefix{Column: p.Column(), Length: p.Length}
			}
		}
	}
}

// plain are the relations without copies, and best those with, which have the
// columns' prefixes too.
func (rs relations) plain() []duckdb.Relation {
	var out []duckdb.Relation
	for _, r := range rs {
		out = append(out, r.Relation)
	}
	return out
}

func (rs relations) best() (out []duckdb.Relation, copied bool) {
	out = rs.plain()
	for i, r := range rs {
		if r.copied != nil {
			out[i], copied = *r.copied, true
		}
		out[i].Prefixes = r.prefixes
	}
	return out, copied
}

// close lets go of the copies; then those that were missed are asked for.
func (rs relations) close() {
	for _, r := range rs {
		if r.view != nil {
			r.view.Close()
			r.view.Request()
		}
		if r.release != nil {
			r.release()
		}
	}
}

// forget drops the copies that were used.
func (rs relations) forget() {
	for _, r := range rs {
		if r.copied != nil {
			r.view.Forget()
		}
	}
}

// copied reports whether copies can give the partition columns that are wanted:
// their values must have a text that the engine reads as the same value.
func (w *wanted) copied() bool {
	for _, k := range w.keys {
		switch k.Type.Name {
		case "varchar", "char", "boolean", "tinyint", "smallint", "integer", "bigint", "date":
		default:
			return false
		}
	}
	return true
}

// copyFormat changes when the SerDes' rows do: older copies are not used then.
const copyFormat = 1

// shape is how a table reads its objects, whatever columns a query wants.
func (s *Service) shape(t *glue.Table) (columnar.Shape, error) {
	all, err := tableColumns(t)
	if err != nil {
		return columnar.Shape{}, err
	}
	out := columnar.Shape{Prefixes: prefixesOf(t, all)}
	all = all[:len(t.Columns)]
	var index []int
	for i, c := range all {
		out.Columns = append(out.Columns, duckdb.Column{Name: c.Name, Type: c.Type.DuckDB()})
		index = append(index, i)
	}
	rd, err := serde.NewReader(t, all, index)
	if err != nil {
		return out, err
	}
	id, err := json.Marshal(struct {
		Format        int
		Serde, Input  string
		Params, Table map[string]string
		Columns       []glue.Column
		Prefixes      []duckdb.Prefix `json:",omitempty"`
	}{copyFormat, t.Serde, t.InputFormat, t.SerdeParams, readingParameters(t), withoutComments(t.Columns), out.Prefixes})
	if err != nil {
		return out, fmt.Errorf("naming a table's shape: %w", err)
	}
	sum := sha256.Sum256(id)
	out.ID = hex.EncodeToString(sum[:16])
	out.Read = func(ctx context.Context, o columnar.Object, emit func([]any) error) error {
		return s.readWhole(ctx, rd, o, emit)
	}
	return out, nil
}

// readingParameters are the table's parameters that a SerDe looks at.
func readingParameters(t *glue.Table) map[string]string {
	const header = "skip.header.line.count"
	return map[string]string{header: t.Parameters[header]}
}

func withoutComments(cols []glue.Column) []glue.Column {
	var out []glue.Column
	for _, c := range cols {
		out = append(out, glue.Column{Name: c.Name, Type: c.Type})
	}
	return out
}

// readWhole reads an object for its copy. Where a query takes an object that
// cannot be read to its end for what it is, a copy must not: it might be read
// the next time.
func (s *Service) readWhole(ctx context.Context, rd *serde.Reader, o columnar.Object, emit func([]any) error) error {
	body, err := s.openObject(ctx, o.Bucket, o.Key)
	if err != nil {
		return fmt.Errorf("reading an object: %w", err)
	}
	w := &watched{r: body}
	err = rd.Read(ctx, o.Key, w, emit)
	return errors.Join(err, w.err, body.Close())
}

// watched keeps the error that ended a body early.
type watched struct {
	r   io.Reader
	err error
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
	return n, err
}

// fromCopies adds to a relation how it is read with copies. own are the columns
// of the files, extra those of which fixed has each file's values.
func (s *Service) fromCopies(rel *relation, t *glue.Table, own, extra []duckdb.Column, listings []columnar.Listing, fixed [][]any) error {
	shape, err := s.shape(t)
	if err != nil {
		return err
	}
	if rel.view, err = s.cfg.Copies.Find(shape, listings); err != nil {
		return fmt.Errorf("finding columnar copies: %w", err)
	}
	stretches, ok := rel.view.Stretches(func(i int) duckdb.Part { return rel.Parts[i] }, func(i int) []any { return fixed[i] })
	if ok {
		rel.copied = &duckdb.Relation{Name: rel.Name, Columns: own, Extra: extra, Stretches: stretches}
	}
	return nil
}
