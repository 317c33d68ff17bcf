package duckdb

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// SourceColumn is the column of a pack that says which of its sources a row is
// from: an INTEGER from 1 on, ascending over the file.
const SourceColumn = "$source"

// maxRanges is how many ranges of sources are compared one by one; a list tells
// more of them apart.
const maxRanges = 8

// Stretch is consecutive rows of a relation: those of Parts, which give the
// Extra columns too, or some of a pack's. A pack is a Parquet file that holds the rows of many sources one
// after the other, with all columns of the relation, of the same names and
// types, its Prefixes and SourceColumn.
type Stretch struct {
	Parts []Part
	// Pack is the file's absolute path.
	Pack string
	// Sources are those whose rows are taken, ascending; none means all.
	Sources []Source
}

// Source is a source of a pack and its values of the relation's Extra columns:
// texts, booleans, integers, nil, or time.Time for a DATE.
type Source struct {
	N      int
	Values []any
}

// Prefix is a column of a pack beside its relation's: the first Length
// characters of the text column Of, NULL where that is. It has far fewer values,
// and a file with a dictionary of them is read, and grouped by, in a fraction of
// the time. In a relation's parts it is the column Of itself: it serves only
// queries that ask for no more than those characters.
type Prefix struct {
	Of     string
	Length int
}

// Column is the prefix's name.
func (p Prefix) Column() string { return p.Of + "$" + strconv.Itoa(p.Length) }

// packOptions make files that are read fast: LZ4 is decompressed in a third of
// the time that zstd takes, to twice the size. Row groups are as parquetOptions
// has them.
const packOptions = "FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUP_SIZE 20480"

// WritePack is WriteParquet of a pack, whose relation has SourceColumn.
func (e *Engine) WritePack(ctx context.Context, path string, r Relation) error {
	items := []string{"*"}
	for _, p := range r.Prefixes {
		items = append(items, "left("+ident(p.Of)+", "+strconv.Itoa(p.Length)+") AS "+ident(p.Column()))
	}
	r.Prefixes = nil
	return e.copyTo(ctx, e.cfg.Threads, path, "SELECT "+strings.Join(items, ", ")+" FROM "+ident(r.Name), packOptions, r)
}

// loadStretches makes a view over the stretches, one after the other.
func loadStretches(ctx context.Context, conn *sql.Conn, r *Relation, s *scans) error {
	if len(r.Parts) > 0 || len(r.Parquet) > 0 {
		return fmt.Errorf("relation %s has stretches beside parts or files", r.Name)
	}
	var branches []string
	for i := 0; i < len(r.Stretches); i++ {
		x := r.Stretches[i]
		if x.Pack == "" {
			part := Relation{Name: r.Name + " " + strconv.Itoa(i), Columns: slices.Concat(r.Columns, r.Extra), Parts: x.Parts, Prefixes: r.Prefixes}
			if err := loadParts(ctx, conn, &part, s); err != nil {
				return err
			}
			branches = append(branches, "SELECT * FROM "+ident(part.Name))
			continue
		}
		// Whole packs that follow one another are read as one.
		paths := []string{quote(x.Pack)}
		for len(x.Sources) == 0 && i+1 < len(r.Stretches) && r.Stretches[i+1].Pack != "" && len(r.Stretches[i+1].Sources) == 0 {
			i++
			paths = append(paths, quote(r.Stretches[i].Pack))
		}
		branch, err := packSQL(r, paths, x.Sources)
		if err != nil {
			return err
		}
		branches = append(branches, branch)
	}
	return exec(ctx, conn, "CREATE TEMP VIEW "+ident(r.Name)+" AS "+strings.Join(branches, " UNION ALL "))
}

// packSQL selects the relation's columns from some sources of a pack.
func packSQL(r *Relation, paths []string, sources []Source) (string, error) {
	var items []string
	for _, c := range r.Columns {
		items = append(items, "f."+ident(c.Name))
	}
	if len(sources) == 0 && len(r.Extra) > 0 {
		return "", fmt.Errorf("a pack of relation %s has no values for its %d extra columns", r.Name, len(r.Extra))
	}
	for k, c := range r.Extra {
		item, err := extraSQL(r, sources, k, c)
		if err != nil {
			return "", err
		}
		items = append(items, item+" AS "+ident(c.Name))
	}
	for _, p := range r.Prefixes {
		items = append(items, "f."+ident(p.Column()))
	}
	if len(items) == 0 {
		items = []string{"TRUE AS " + ident(absent.Name)}
	}
	out := "SELECT " + strings.Join(items, ", ") + " FROM read_parquet([" + strings.Join(paths, ", ") + "], hive_partitioning=false) AS f"
	if len(sources) > 0 {
		out += " WHERE " + takenSQL(sources)
	}
	return out, nil
}

// takenSQL is true for the rows of the sources. Ranges are compared where there
// are few, as row groups are skipped by them.
func takenSQL(sources []Source) string {
	column := "f." + ident(SourceColumn)
	between := func(lo, hi int) string { return fmt.Sprintf("%s BETWEEN %d AND %d", column, lo, hi) }
	var ranges []string
	for i := 0; i < len(sources); {
		k := i
		for k+1 < len(sources) && sources[k+1].N == sources[k].N+1 {
			k++
		}
		ranges = append(ranges, between(sources[i].N, sources[k].N))
		i = k + 1
	}
	if len(ranges) <= maxRanges {
		return "(" + strings.Join(ranges, " OR ") + ")"
	}
	lo, hi := sources[0].N, sources[len(sources)-1].N
	taken := slices.Repeat([]string{"FALSE"}, hi-lo+1)
	for _, s := range sources {
		taken[s.N-lo] = "TRUE"
	}
	return "(" + between(lo, hi) + " AND [" + strings.Join(taken, ", ") + "][" + column + " - " + strconv.Itoa(lo-1) + "])"
}

// extraSQL is the value of Extra column k for a row.
func extraSQL(r *Relation, sources []Source, k int, c Column) (string, error) {
	lo, hi := sources[0].N, sources[len(sources)-1].N
	values := slices.Repeat([]string{"NULL"}, hi-lo+1)
	same := true
	for _, s := range sources {
		if len(s.Values) != len(r.Extra) {
			return "", fmt.Errorf("a source of relation %s has %d values for %d columns", r.Name, len(s.Values), len(r.Extra))
		}
		v, err := literal(s.Values[k])
		if err != nil {
			return "", fmt.Errorf("column %s: %w", c.Name, err)
		}
		values[s.N-lo] = v
		same = same && v == values[0]
	}
	if same {
		return "CAST(" + values[0] + " AS " + c.Type + ")", nil
	}
	return "CAST([" + strings.Join(values, ", ") + "] AS " + c.Type + "[])[f." + ident(SourceColumn) + " - " + strconv.Itoa(lo-1) + "]", nil
}

// literal is a value as a text that the engine casts to its column's type.
func literal(v any) (string, error) {
	switch x := v.(type) {
	case nil:
		return "NULL", nil
	case string:
		return quote(x), nil
	case bool, int8, int16, int32, int64:
		return quote(fmt.Sprint(x)), nil
	case time.Time:
		return quote(x.Format(time.DateOnly)), nil
	}
	return "", fmt.Errorf("a value of type %T cannot be a source's", v)
}
