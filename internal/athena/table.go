package athena

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"spoor/internal/athena/serde"
	"spoor/internal/athena/sql"
	"spoor/internal/call"
	"spoor/internal/columnar"
	"spoor/internal/engine/duckdb"
	"spoor/internal/glue"
	"spoor/internal/objects"
)

// pathColumn is the hidden column with the row's file.
const pathColumn = "$path"

func tableColumns(t *glue.Table) ([]sql.Column, error) {
	var out []sql.Column
	for _, c := range append(append([]glue.Column(nil), t.Columns...), t.PartitionKeys...) {
		typ, err := sql.ParseHiveType(c.Type)
		if err != nil {
			return nil, userError(1000, "HIVE_INVALID_METADATA: column %s of table %s.%s has the type %s, which is not known", c.Name, t.Database, t.Name, c.Type)
		}
		out = append(out, sql.Column{Name: c.Name, Type: typ, Hive: c.Type, Comment: c.Comment})
	}
	return out, nil
}

// file is an object of a table with the values of its partition.
type file struct {
	bucket, key string
	values      []string
}

func (x file) url() string { return "s3://" + x.bucket + "/" + x.key }

// wanted is what a query takes from a table: columns of its files, partition
// keys, and whether it asks where a row is from.
type wanted struct {
	columns []sql.Column
	index   []int // of the columns in the table
	keys    []sql.Column
	keyAt   []int // of the keys among the partition keys
	path    bool
}

// mentions reports whether a rewritten query names a column. Every name in it is
// quoted, so a column that is not found there is not used.
func mentions(query, column string) bool {
	return strings.Contains(query, `"`+strings.ReplaceAll(column, `"`, `""`)+`"`)
}

// wants finds the columns that a rewritten query names.
func wants(t *glue.Table, query string) (*wanted, error) {
	all, err := tableColumns(t)
	if err != nil {
		return nil, err
	}
	w := &wanted{path: mentions(query, pathColumn)}
	for i, c := range all {
		switch {
		case !mentions(query, c.Name):
		case i < len(t.Columns):
			w.columns, w.index = append(w.columns, c), append(w.index, i)
		default:
			w.keys, w.keyAt = append(w.keys, c), append(w.keyAt, i-len(t.Columns))
		}
	}
	return w, nil
}

// extra are the columns that are the same for a whole file, and constants
// their values.
func (w *wanted) extra() []duckdb.Column {
	var out []duckdb.Column
	for _, c := range w.keys {
		out = append(out, duckdb.Column{Name: c.Name, Type: c.Type.DuckDB()})
	}
	if w.path {
		out = append(out, duckdb.Column{Name: pathColumn, Type: "VARCHAR"})
	}
	return out
}

func (w *wanted) constants(x file) []string {
	var out []string
	for _, i := range w.keyAt {
		out = append(out, x.values[i])
	}
	if w.path {
		out = append(out, x.url())
	}
	return out
}

// values are the constants typed.
func (w *wanted) values(x file) ([]any, error) {
	out := make([]any, 0, len(w.keys)+1)
	for i, c := range w.keys {
		v, err := serde.FromText(x.values[w.keyAt[i]], c.Type)
		if err != nil {
			return nil, userError(1000, "HIVE_INVALID_PARTITION_VALUE: Invalid partition value '%s' for %s partition key: %s", x.values[w.keyAt[i]], c.Type, c.Name)
		}
		out = append(out, v)
	}
	if w.path {
		out = append(out, x.url())
	}
	return out, nil
}

// relation makes a table's rows available under a name: only the columns that
// the query names, only the partitions that its predicates leave.
func (s *Service) relation(ctx context.Context, e *execution, name string, t *glue.Table, q *sql.Rewritten) (relation, error) {
	rel := relation{Relation: duckdb.Relation{Name: name}}
	if t.Database == glue.FederatedDatabase {
		return s.federated(ctx, e, name, t, q)
	}
	format, err := serde.FormatOf(t)
	if err != nil {
		return rel, userError(1200, "%s", err)
	}
	w, err := wants(t, q.SQL)
	if err != nil {
		return rel, err
	}
	places, err := s.places(scopeOf(e), t, q.Predicates[name])
	if err != nil {
		return rel, err
	}
	files, listings, err := s.files(ctx, e, t, places)
	if err != nil {
		return rel, err
	}
	for _, c := range w.columns {
		rel.Columns = append(rel.Columns, duckdb.Column{Name: c.Name, Type: c.Type.DuckDB()})
	}
	if format == serde.Parquet {
		rel.Extra = w.extra()
		for _, x := range files {
			local, err := s.local(x)
			if err != nil {
				return rel, err
			}
			rel.Parquet = append(rel.Parquet, duckdb.File{Path: local, Values: w.constants(x)})
		}
		return rel, nil
	}
	rd, err := serde.NewReader(t, w.columns, w.index)
	if err != nil {
		return rel, err
	}
	own := rel.Columns
	if rel.prefixes, err = takenPrefixes(t, q, own); err != nil {
		return rel, err
	}
	rel.Columns = append(rel.Columns[:len(own):len(own)], w.extra()...)
	fixed := make([][]any, len(files))
	for i, x := range files {
		if fixed[i], err = w.values(x); err != nil {
			return rel, err
		}
		rel.Parts = append(rel.Parts, func(ctx context.Context, emit func([]any) error) error {
			whole := make([]any, len(w.columns)+len(fixed[i]))
			copy(whole[len(w.columns):], fixed[i])
			return s.readFile(ctx, rd, x, func(row []any) error {
				copy(whole, row)
				return emit(whole)
			})
		})
	}
	if format == serde.CloudTrail && s.cfg.Copies != nil && w.copied() {
		err = s.fromCopies(&rel, t, own, w.extra(), listings, fixed)
	}
	return rel, err
}

// files lists the objects at a table's places, hidden ones left out, and asks
// for the caller's right to read them. The listings have the same objects in
// the same order.
func (s *Service) files(ctx context.Context, e *execution, t *glue.Table, places []place) (out []file, listings []columnar.Listing, err error) {
	for _, p := range places {
		bucket, prefix, ok := splitLocation(p.location)
		if !ok {
			return nil, nil, userError(1000, "HIVE_METASTORE_ERROR: the location %s of table %s.%s is no S3 path", p.location, t.Database, t.Name)
		}
		prefix = folder(prefix)
		if !s.cfg.Buckets.Exists(bucket) {
			return nil, nil, userError(1000, "HIVE_FILESYSTEM_ERROR: The specified bucket does not exist: %s", bucket)
		}
		may := s.onBucket(e.call, "s3:ListBucket", bucket, "")
		may.Context = map[string][]string{"s3:prefix": {prefix}}
		denied := fmt.Sprintf("PERMISSION_DENIED: Access Denied when reading s3://%s/%s", bucket, prefix)
		if err := s.allowed(ctx, e, denied, may); err != nil {
			return nil, nil, err
		}
		var perms []call.Permission
		list := columnar.Listing{Bucket: bucket, Prefix: prefix}
		err = s.cfg.Objects.List(ctx, bucket, prefix, "", func(i objects.Item) bool {
			if !hidden(strings.TrimPrefix(i.Key, prefix)) && i.Size > 0 {
				out = append(out, file{bucket, i.Key, p.values})
				list.Objects = append(list.Objects, columnar.Object{Bucket: bucket, Key: i.Key, ETag: i.ETag, Size: i.Size, Modified: i.LastModified})
				perms = append(perms, s.onBucket(e.call, "s3:GetObject", bucket, i.Key))
				e.Scanned += i.Size
			}
			return ctx.Err() == nil && !e.tooMuch()
		})
		if err != nil {
			return nil, nil, fmt.Errorf("listing a table's files: %w", err)
		}
		if e.tooMuch() {
			return nil, nil, userError(1000, "Bytes scanned limit was exceeded")
		}
		if len(perms) > 0 {
			if err := s.allowed(ctx, e, denied, perms...); err != nil {
				return nil, nil, err
			}
		}
		listings = append(listings, list)
	}
	return out, listings, ctx.Err()
}

// folder completes a prefix so that it ends at a folder's border.
func folder(prefix string) string {
	if prefix == "" || strings.HasSuffix(prefix, "/") {
		return prefix
	}
	return prefix + "/"
}

// hidden files are not read: a name that starts with _ or . at any level.
func hidden(rest string) bool {
	for _, part := range strings.Split(rest, "/") {
		if strings.HasPrefix(part, "_") || strings.HasPrefix(part, ".") {
			return true
		}
	}
	return strings.HasSuffix(rest, "/")
}

// readFile reads a file's rows; one that was deleted since it was listed has
// none.
func (s *Service) readFile(ctx context.Context, rd *serde.Reader, x file, emit func([]any) error) error {
	body, err := s.openObject(ctx, x.bucket, x.key)
	if errors.Is(err, objects.ErrNoSuchKey) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading an object: %w", err)
	}
	err = rd.Read(ctx, x.key, body, emit)
	if cerr := body.Close(); err == nil && cerr != nil {
		return fmt.Errorf("reading an object: %w", cerr)
	}
	return err
}

// openObject opens an object, as a file where it is one.
func (s *Service) openObject(ctx context.Context, bucket, key string) (io.ReadCloser, error) {
	if name, ok := s.cfg.Objects.LocalPath(bucket, key); ok {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			return nil, objects.ErrNoSuchKey
		}
		return f, err
	}
	body, _, err := s.cfg.Objects.Get(ctx, bucket, key)
	return body, err
}

// local is the path of a Parquet file. Only the embedded storage has one.
func (s *Service) local(x file) (string, error) {
	name, ok := s.cfg.Objects.LocalPath(x.bucket, x.key)
	if !ok {
		return "", userError(1200, "NOT_SUPPORTED: Parquet tables need the embedded object storage")
	}
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", fmt.Errorf("finding a Parquet file: %w", err)
	}
	return abs, nil
}
