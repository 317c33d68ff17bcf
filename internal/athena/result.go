package athena

import (
	"bytes"
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

// appendCSV writes one line as Athena does: every value quoted, NULL empty.
func appendCSV(b *bytes.Buffer, row []cell) {
	for i, c := range row {
		if i > 0 {
			b.WriteByte(',')
		}
		if c.Null {
			continue
		}
		b.WriteByte('"')
		b.WriteString(strings.ReplaceAll(c.Text, `"`, `""`))
		b.WriteByte('"')
	}
	b.WriteByte('\n')
}

func header(cols []column) []cell {
	out := make([]cell, len(cols))
	for i, c := range cols {
		out[i] = cell{Text: c.Name}
	}
	return out
}

// parseCSV reads what appendCSV wrote. ok is false for anything else.
func parseCSV(data []byte) (rows [][]cell, ok bool) {
	var row []cell
	for i := 0; i < len(data); {
		var c cell
		if data[i] == '"' {
			var text []byte
			i++
			for {
				n := bytes.IndexByte(data[i:], '"')
				if n < 0 {
					return nil, false
				}
				text = append(text, data[i:i+n]...)
				i += n + 1
				if i < len(data) && data[i] == '"' {
					text = append(text, '"')
					i++
					continue
				}
				break
			}
			c.Text = string(text)
		} else {
			c.Null = true
		}
		row = append(row, c)
		if i >= len(data) {
			return nil, false
		}
		switch data[i] {
		case ',':
			if i+1 < len(data) && data[i+1] == '\n' { // a NULL at the line's end
				row = append(row, cell{Null: true})
				i++
				rows, row = append(rows, row), nil
			}
		case '\n':
			rows, row = append(rows, row), nil
		default:
			return nil, false
		}
		i++
	}
	return rows, row == nil
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
