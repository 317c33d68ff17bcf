package athena

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/athena/types"

	"spoor/internal/athena/sql"
)

// column is a column of a result with what GetQueryResults says of it.
type column struct {
	Name string   `json:"name"`
	Type sql.Type `json:"type"`
}

// cell is a value of a result; NULL is not the empty text.
type cell struct {
	Text string
	Null bool
}

// precision and scale are Athena's ColumnInfo of each type.
func (c column) precision() (precision, scale int32) {
	first := func(def int32) int32 {
		if len(c.Type.Params) > 0 {
			return int32(c.Type.Params[0])
		}
		return def
	}
	switch c.Type.Name {
	case "tinyint":
		return 3, 0
	case "smallint":
		return 5, 0
	case "integer":
		return 10, 0
	case "bigint":
		return 19, 0
	case "real", "double":
		return 17, 0
	case "decimal":
		if len(c.Type.Params) == 2 {
			return int32(c.Type.Params[0]), int32(c.Type.Params[1])
		}
		return 38, 0
	case "varchar":
		return first(2147483647), 0
	case "char":
		return first(1), 0
	case "varbinary":
		return 1073741824, 0
	case "time", "timestamp", "timestamp with time zone":
		return 3, 0
	}
	return 0, 0
}

// typeName is the type's name without its parameters, and "float" for real.
func (c column) typeName() string {
	switch c.Type.Name {
	case "real":
		return "float"
	case "":
		return "varchar"
	}
	return c.Type.Name
}

func (c column) caseSensitive() bool { return c.Type.Name == "varchar" || c.Type.Name == "char" }

func (c column) info() types.ColumnInfo {
	p, s := c.precision()
	return types.ColumnInfo{CatalogName: new("hive"), SchemaName: new(""), TableName: new(""), Name: &c.Name, Label: &c.Name, Type: new(c.typeName()),
		Precision: p, Scale: s, Nullable: types.ColumnNullableUnknown, CaseSensitive: c.caseSensitive()}
}

// appendCSV appends one line as Athena writes it: every value quoted, NULL
// empty.
func appendCSV(b []byte, row []cell) []byte {
	for i, c := range row {
		if i > 0 {
			b = append(b, ',')
		}
		if c.Null {
			continue
		}
		b = append(b, '"')
		b = append(b, strings.ReplaceAll(c.Text, `"`, `""`)...)
		b = append(b, '"')
	}
	return append(b, '\n')
}

func header(cols []column) []cell {
	out := make([]cell, len(cols))
	for i, c := range cols {
		out[i] = cell{Text: c.Name}
	}
	return out
}

// errResult is a result's object that is not what was written.
var errResult = errors.New("athena: the result's object is damaged")

// resultReader reads the rows of a result's object, and knows where the next
// one begins.
type resultReader struct {
	r     *bufio.Reader
	at    int64 // bytes read
	lines bool  // a .txt object: one cell a line
}

// next is the next row, io.EOF after the last.
func (p *resultReader) next() ([]cell, error) {
	if p.lines {
		line, err := p.r.ReadString('\n')
		p.at += int64(len(line))
		if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
			return nil, err
		}
		return []cell{{Text: strings.TrimSuffix(line, "\n")}}, nil
	}
	var row []cell
	for {
		c, err := p.read()
		switch {
		case errors.Is(err, io.EOF) && len(row) == 0:
			return nil, io.EOF
		case err != nil:
			return nil, orDamaged(err)
		}
		var v cell
		if v.Null = c != '"'; !v.Null {
			if v.Text, c, err = p.quoted(); err != nil {
				return nil, orDamaged(err)
			}
		}
		row = append(row, v)
		switch c {
		case ',':
		case '\n':
			return row, nil
		default:
			return nil, errResult
		}
	}
}

func orDamaged(err error) error {
	if errors.Is(err, io.EOF) {
		return errResult
	}
	return err
}

func (p *resultReader) read() (byte, error) {
	c, err := p.r.ReadByte()
	if err == nil {
		p.at++
	}
	return c, err
}

// quoted reads up to the closing quote and the byte after it.
func (p *resultReader) quoted() (string, byte, error) {
	var text []byte
	for {
		part, err := p.r.ReadSlice('"')
		p.at += int64(len(part))
		if errors.Is(err, bufio.ErrBufferFull) {
			text = append(text, part...)
			continue
		}
		if err != nil {
			return "", 0, err
		}
		text = append(text, part[:len(part)-1]...)
		c, err := p.read()
		if err != nil || c != '"' {
			return string(text), c, err
		}
		text = append(text, '"')
	}
}

// spool collects a result: in memory while it is small, then in a file without
// a name.
type spool struct {
	dir  string // "" for the system's
	size int64
	buf  bytes.Buffer
	file *os.File
}

// maxInMemory is how much of a result stays in memory, in bytes.
const maxInMemory = 1 << 20

func (s *spool) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	if s.file == nil && s.buf.Len()+len(p) <= maxInMemory {
		return s.buf.Write(p)
	}
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "spoor-result-")
		if err != nil {
			return 0, fmt.Errorf("creating a file for a result: %w", err)
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return 0, fmt.Errorf("creating a file for a result: %w", err)
		}
		if _, err := s.file.Write(s.buf.Bytes()); err != nil {
			return 0, fmt.Errorf("writing a result: %w", err)
		}
		s.buf = bytes.Buffer{}
	}
	n, err := s.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("writing a result: %w", err)
	}
	return n, nil
}

// body is what was written, from its start.
func (s *spool) body() (io.ReadSeeker, error) {
	if s.file == nil {
		return bytes.NewReader(s.buf.Bytes()), nil
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("reading a result: %w", err)
	}
	return s.file, nil
}

func (s *spool) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// metadata encodes the companion file of a result: a protobuf message that
// AWS's JDBC driver reads. Fields: 1 query id, 2 update type, 3 update count,
// 4 columns {1 catalog, 4 name, 5 label, 6 type, 7 precision, 8 scale,
// 9 nullable, 10 case-sensitive} (as burtcorp/athena-jdbc reads it).
func metadata(id string, cols []column) []byte {
	b := protoBytes(nil, 1, []byte(id))
	for _, c := range cols {
		p, s := c.precision()
		m := protoBytes(nil, 1, []byte("hive"))
		m = protoBytes(m, 4, []byte(c.Name))
		m = protoBytes(m, 5, []byte(c.Name))
		m = protoBytes(m, 6, []byte(c.typeName()))
		m = protoVarint(m, 7, uint64(p))
		m = protoVarint(m, 8, uint64(s))
		m = protoVarint(m, 9, 3) // nullability unknown
		if c.caseSensitive() {
			m = protoVarint(m, 10, 1)
		} else {
			m = protoVarint(m, 10, 0)
		}
		b = protoBytes(b, 4, m)
	}
	return b
}

func varint(b []byte, v uint64) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func protoBytes(b []byte, field int, v []byte) []byte {
	b = varint(b, uint64(field)<<3|2)
	return append(varint(b, uint64(len(v))), v...)
}

func protoVarint(b []byte, field int, v uint64) []byte {
	return varint(varint(b, uint64(field)<<3), v)
}
