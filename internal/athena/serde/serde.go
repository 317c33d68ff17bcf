// Package serde reads the files of a table: Hive's text, CSV and JSON SerDes
// and AWS's CloudTrail input format, plain or compressed. It stands between
// object storage and the SQL engine while a query runs, and turns bytes into
// rows of the columns that the query wants, typed as the table declares them.
//
// The package is pure but for the readers it is given. Files come from
// strangers: whatever they hold gives rows, a NULL or an error, within the
// limits below.
package serde

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"spoor/internal/athena/sql"
	"spoor/internal/glue"
)

// Limits of what a reader holds in memory.
const (
	// maxDocument is the most that one CloudTrail file may hold unpacked, in
	// bytes. CloudTrail's own files hold some 50 MB at most.
	maxDocument = 256 << 20
	maxLine     = 32 << 20 // bytes of a line; Athena's rows end at 32 MB
	zstdWindow  = 64 << 20 // bytes that a zstd stream may look back
)

// Class names of the input formats and SerDes that are read.
const (
	CloudTrailInput = "com.amazon.emr.cloudtrail.CloudTrailInputFormat"
	TextInput       = "org.apache.hadoop.mapred.TextInputFormat"
	ParquetInput    = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
	TextOutput      = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
	ParquetOutput   = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
	LazySimple      = "org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe"
	OpenCSV         = "org.apache.hadoop.hive.serde2.OpenCSVSerde"
	HiveJSON        = "org.apache.hive.hcatalog.data.JsonSerDe"
	HiveJSON2       = "org.apache.hadoop.hive.serde2.JsonSerDe" // its name since Hive 3
	OpenX           = "org.openx.data.jsonserde.JsonSerDe"
	CloudTrailSerde = "com.amazon.emr.hive.serde.CloudTrailSerde"
	ParquetSerde    = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
)

// Format is how a table's files are read.
type Format uint8

// Formats. Parquet is the SQL engine's to read; the others are Reader's.
const (
	Text Format = iota
	CSV
	JSON
	CloudTrail
	Parquet
)

// FormatOf is the format of a table, an error for one that is not read.
func FormatOf(t *glue.Table) (Format, error) {
	switch {
	case t.InputFormat == CloudTrailInput && (t.Serde == CloudTrailSerde || t.Serde == HiveJSON || t.Serde == HiveJSON2 || t.Serde == OpenX):
		return CloudTrail, nil
	case t.Serde == ParquetSerde:
		return Parquet, nil
	case t.Serde == HiveJSON, t.Serde == HiveJSON2, t.Serde == OpenX:
		return JSON, nil
	case t.Serde == OpenCSV:
		return CSV, nil
	case t.Serde == LazySimple, t.Serde == "":
		return Text, nil
	}
	return 0, fmt.Errorf("HIVE_UNSUPPORTED_FORMAT: SerDe %s is not supported by this engine (table %s.%s)", t.Serde, t.Database, t.Name)
}

// Reader reads the rows of one table's files. It is safe for concurrent use.
type Reader struct {
	format  Format
	table   *glue.Table
	columns []sql.Column // the columns wanted
	index   []int        // of each among the table's columns
	gzips   sync.Pool    // *gzip.Reader
}

// NewReader makes a reader of some columns, given by their indexes in
// t.Columns; columns are their types.
func NewReader(t *glue.Table, columns []sql.Column, index []int) (*Reader, error) {
	f, err := FormatOf(t)
	if err != nil {
		return nil, err
	}
	if f == Parquet || len(columns) != len(index) {
		return nil, fmt.Errorf("serde: no reader for format %d with %d columns at %d indexes", f, len(columns), len(index))
	}
	return &Reader{format: f, table: t, columns: columns, index: index}, nil
}

// Read calls emit with the wanted columns of each row of the file name, whose
// slice is reused. It returns what emit returns, or an error whose first
// line is the caller's and begins with the name of Trino's error.
func (rd *Reader) Read(ctx context.Context, name string, r io.Reader, emit func([]any) error) error {
	plain, done, err := rd.unpack(name, bufio.NewReaderSize(r, 64<<10))
	if err != nil {
		if rd.format == CloudTrail && ctx.Err() == nil {
			return nil // AWS's input format skips what it cannot read
		}
		return err
	}
	defer done()
	switch rd.format {
	case CloudTrail:
		return rd.cloudTrail(ctx, plain, emit)
	case JSON:
		return rd.jsonLines(plain, emit)
	case CSV:
		return rd.openCSV(plain, emit)
	}
	return rd.text(plain, emit)
}

// unpack unpacks a file by its name's ending. done gives back what it took.
func (rd *Reader) unpack(name string, r io.Reader) (plain io.Reader, done func(), err error) {
	unreadable := func(err error) error {
		return withCause("HIVE_CANNOT_OPEN_SPLIT: Error opening Hive split "+name, err)
	}
	switch {
	case strings.HasSuffix(name, ".gz"):
		z, ok := rd.gzips.Get().(*gzip.Reader)
		if !ok {
			z = new(gzip.Reader)
		}
		if err := z.Reset(r); err != nil {
			rd.gzips.Put(z)
			return nil, nil, unreadable(err)
		}
		return z, func() { rd.gzips.Put(z) }, nil
	case strings.HasSuffix(name, ".zst"):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, nil, unreadable(err)
		}
		return z, z.Close, nil
	case strings.HasSuffix(name, ".bz2"):
		return bzip2.NewReader(r), func() {}, nil
	}
	for _, ending := range []string{".snappy", ".lz4", ".lzo", ".deflate", ".xz", ".zip"} {
		if strings.HasSuffix(name, ending) {
			return nil, nil, fmt.Errorf("HIVE_UNSUPPORTED_FORMAT: compression %s is not supported by this engine (file %s)", ending[1:], name)
		}
	}
	return r, func() {}, nil
}

// withCause keeps the cause, which may name files of the host, apart from the
// first line, which is the caller's.
func withCause(text string, cause error) error { return errors.Join(errors.New(text), cause) }

// lines calls fn with each line, without its end.
func lines(r io.Reader, fn func([]byte) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxLine)
	for sc.Scan() {
		if err := fn(bytes.TrimSuffix(sc.Bytes(), []byte{'\r'})); err != nil {
			return err
		}
	}
	if err := sc.Err(); err != nil {
		return withCause("HIVE_CURSOR_ERROR: Failed to read file", err)
	}
	return nil
}

// skipHeader is the number of lines at a file's start that are no rows.
func (rd *Reader) skipHeader() int {
	n, err := strconv.Atoi(rd.table.Parameters["skip.header.line.count"])
	if err != nil || n < 0 {
		return 0
	}
	return n
}
