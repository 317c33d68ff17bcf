package frame

import (
	"encoding/binary"
	"strings"

	"spoor/internal/cql"
)

// TypeOption is a column's type as the protocol writes it.
type TypeOption interface {
	// AppendOption appends the type's [option] (native_protocol_v4.spec, section
	// 4.2.5.2) in the form of version v: types that v does not know are written
	// as custom types.
	AppendOption(dst []byte, v cql.ProtocolVersion) []byte
}

// ColumnSpec describes a column of a result, or a bind marker.
type ColumnSpec struct {
	Keyspace, Table, Name string
	Type                  TypeOption
}

// The flags of result metadata (section 4.2.5.2).
const (
	metaGlobalTables = 0x0001
	metaMorePages    = 0x0002
	metaNone         = 0x0004
)

// Metadata is the description of a result's columns, or of a statement's bind
// markers, encoded once for every version. It does not change and may be
// shared.
type Metadata struct {
	columns []ColumnSpec
	global  bool
	specs   [cql.MaxProtocol - cql.MinProtocol + 1][]byte // table specification and columns
}

// NewMetadata encodes columns. The slice must not change afterwards.
func NewMetadata(columns []ColumnSpec) *Metadata {
	m := &Metadata{columns: columns, global: len(columns) > 0}
	for i := range columns {
		if columns[i].Keyspace != columns[0].Keyspace || columns[i].Table != columns[0].Table {
			m.global = false
		}
	}
	for v := cql.MinProtocol; v <= cql.MaxProtocol; v++ {
		var b []byte
		if m.global {
			b = appendString(appendString(b, columns[0].Keyspace), columns[0].Table)
		}
		for i := range columns {
			c := &columns[i]
			if !m.global {
				b = appendString(appendString(b, c.Keyspace), c.Table)
			}
			b = c.Type.AppendOption(appendString(b, c.Name), v)
		}
		m.specs[v-cql.MinProtocol] = b
	}
	return m
}

// Columns are the columns described.
func (m *Metadata) Columns() []ColumnSpec {
	if m == nil {
		return nil
	}
	return m.columns
}

func (m *Metadata) flags() uint32 {
	if m.global {
		return metaGlobalTables
	}
	return 0
}

func (m *Metadata) encoded(v cql.ProtocolVersion) []byte { return m.specs[v-cql.MinProtocol] }

// maxShort is the greatest [short], and so the longest [string] in bytes.
const maxShort = 1<<16 - 1

// appendString appends a [string]; text beyond maxShort bytes is cut, which
// only an error's message can reach.
func appendString(dst []byte, s string) []byte {
	if len(s) > maxShort {
		s = strings.ToValidUTF8(s[:maxShort], "")
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(s)))
	return append(dst, s...)
}

func appendStringList(dst []byte, list []string) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(list)))
	for _, s := range list {
		dst = appendString(dst, s)
	}
	return dst
}

func appendShortBytes(dst, b []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(b)))
	return append(dst, b...)
}

// AppendValue appends a [bytes]: nil is null, an empty slice is empty.
func AppendValue(dst, value []byte) []byte {
	if value == nil {
		return append(dst, 0xFF, 0xFF, 0xFF, 0xFF)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(value)))
	return append(dst, value...)
}
