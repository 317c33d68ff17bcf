package frame

import (
	"encoding/binary"
	"unicode/utf8"

	"spoor/internal/cql"
)

// ValueKind says whether a bound value is there.
type ValueKind uint8

// The kinds of bound values.
const (
	ValueSet   ValueKind = iota // Data holds it; it may be empty
	ValueNull                   // null: deletes what it is assigned to
	ValueUnset                  // not given: leaves what it would be assigned to; since version 4
)

// Value is a bound value. Data and Name are parts of the request's buffer.
type Value struct {
	Name []byte // nil for a value bound by position
	Data []byte
	Kind ValueKind
}

// Params are what QUERY and EXECUTE carry beside the statement (section 4.1.4).
// Decoding overwrites them and keeps their slices' capacity.
type Params struct {
	Consistency       cql.Consistency
	SerialConsistency cql.Consistency // Serial when not given
	Values            []Value
	Named             bool // the values have names
	SkipMetadata      bool
	PageSize          int32 // rows; 0 when not given
	PagingState       []byte
	Timestamp         int64 // microseconds since the epoch, when HasTimestamp
	HasTimestamp      bool
}

// Query is a QUERY.
type Query struct {
	Text []byte
	Params
}

// Execute is an EXECUTE.
type Execute struct {
	ID []byte
	Params
}

// BatchKind is a batch's kind; its values are those of the wire.
type BatchKind uint8

// The kinds of batches.
const (
	BatchLogged BatchKind = iota
	BatchUnlogged
	BatchCounter
)

// BatchEntry is one statement of a BATCH: Text, or ID when it is prepared.
type BatchEntry struct {
	Text   []byte
	ID     []byte // nil when the statement is given by its text
	Values []Value
}

// Batch is a BATCH. Its Params have no values, page or metadata flag.
type Batch struct {
	Kind    BatchKind
	Entries []BatchEntry
	Params

	values []Value // of all entries
}

// The query flags (section 4.1.4).
const (
	flagValues            = 0x01
	flagSkipMetadata      = 0x02
	flagPageSize          = 0x04
	flagPagingState       = 0x08
	flagSerialConsistency = 0x10
	flagTimestamp         = 0x20
	flagNames             = 0x40
)

// reader walks a body. After the first failure every further read gives zero
// values, and err says what was wrong.
type reader struct {
	b   []byte
	err *cql.Error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = cql.ProtocolError(format, args...)
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail("Not enough bytes to read the message: it ends before %d more bytes", n)
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) short() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) int() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) long() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) text(n int) []byte {
	b := r.take(n)
	if !utf8.Valid(b) {
		r.fail("Cannot decode string as UTF8")
		return nil
	}
	return b
}

func (r *reader) string() []byte     { return r.text(int(r.short())) }
func (r *reader) longString() []byte { return r.text(int(r.int())) }
func (r *reader) shortBytes() []byte { return r.take(int(r.short())) }

func (r *reader) bytes() []byte {
	n := int(r.int())
	if n < 0 {
		return nil
	}
	return r.take(n)
}

func (r *reader) value(v cql.ProtocolVersion) Value {
	n := int(r.int())
	switch {
	case n >= 0:
		return Value{Data: r.take(n)}
	case n == -1 || v < cql.Protocol4: // version 3 reads every negative length as null
		return Value{Kind: ValueNull}
	case n == -2:
		return Value{Kind: ValueUnset}
	}
	r.fail("Invalid value length: %d", n)
	return Value{}
}

// values appends a list of values to dst. Each takes at least the four bytes of
// its length, so a count that the body cannot hold allocates nothing.
func (r *reader) values(dst []Value, v cql.ProtocolVersion, named bool) []Value {
	n := int(r.short())
	if n*4 > len(r.b) {
		r.fail("Not enough bytes to read the message: it declares %d values", n)
		return dst
	}
	for range n {
		var name []byte
		if named {
			name = r.string()
		}
		value := r.value(v)
		value.Name = name
		dst = append(dst, value)
	}
	return dst
}

func (r *reader) consistency() cql.Consistency {
	c := cql.Consistency(r.short())
	if !c.Valid() {
		r.fail("Unknown code %d for a consistency level", uint16(c))
	}
	return c
}

func (r *reader) params(p *Params, v cql.ProtocolVersion) {
	p.reset(r.consistency())
	flags := r.byte()
	if flags&flagValues != 0 {
		p.Named = flags&flagNames != 0
		p.Values = r.values(p.Values, v, p.Named)
	}
	p.SkipMetadata = flags&flagSkipMetadata != 0
	if flags&flagPageSize != 0 {
		p.PageSize = max(r.int(), 0) // drivers turn paging off with 0 or less
	}
	if flags&flagPagingState != 0 {
		p.PagingState = r.bytes()
	}
	r.writeParams(p, flags)
}

func (p *Params) reset(c cql.Consistency) {
	*p = Params{Consistency: c, SerialConsistency: cql.Serial, Values: p.Values[:0]}
}

func (r *reader) writeParams(p *Params, flags byte) {
	if flags&flagSerialConsistency != 0 {
		p.SerialConsistency = r.consistency()
	}
	if flags&flagTimestamp != 0 {
		p.Timestamp = r.long()
		p.HasTimestamp = true
	}
}

// DecodeQuery reads the body of a QUERY.
func DecodeQuery(body []byte, v cql.ProtocolVersion, dst *Query) *cql.Error {
	r := reader{b: body}
	dst.Text = r.longString()
	r.params(&dst.Params, v)
	return r.err
}

// DecodeExecute reads the body of an EXECUTE.
func DecodeExecute(body []byte, v cql.ProtocolVersion, dst *Execute) *cql.Error {
	r := reader{b: body}
	dst.ID = r.shortBytes()
	r.params(&dst.Params, v)
	return r.err
}

// DecodePrepare reads the body of a PREPARE: the statement's text.
func DecodePrepare(body []byte) ([]byte, *cql.Error) {
	r := reader{b: body}
	text := r.longString()
	return text, r.err
}

// minBatchEntry is the least a batch's entry takes: kind, an empty id, no values.
const minBatchEntry = 1 + 2 + 2

// DecodeBatch reads the body of a BATCH.
func DecodeBatch(body []byte, v cql.ProtocolVersion, dst *Batch) *cql.Error {
	r := reader{b: body}
	dst.Entries, dst.values = dst.Entries[:0], dst.values[:0]
	dst.Kind = BatchKind(r.byte())
	if dst.Kind > BatchCounter {
		r.fail("Invalid batch type %d", dst.Kind)
	}
	n := int(r.short())
	if n*minBatchEntry > len(r.b) {
		r.fail("Not enough bytes to read the message: it declares %d statements", n)
		return r.err
	}
	for range n {
		var e BatchEntry
		switch kind := r.byte(); kind {
		case 0:
			e.Text = r.longString()
		case 1:
			e.ID = r.shortBytes()
		default:
			r.fail("Invalid query kind in BATCH messages. Must be 0 or 1 but got %d", kind)
		}
		from := len(dst.values)
		dst.values = r.values(dst.values, v, false)
		if r.err != nil {
			return r.err
		}
		// An entry keeps its part also when values moves to grow: the part left
		// behind is complete.
		e.Values = dst.values[from:len(dst.values):len(dst.values)]
		dst.Entries = append(dst.Entries, e)
	}
	dst.Params.reset(r.consistency())
	if flags := r.byte(); r.err == nil {
		if flags&flagNames != 0 {
			// The flag comes after the values it would change; the protocol calls
			// it unusable (section 4.1.7).
			r.fail("Named values are not supported in BATCH messages")
		}
		r.writeParams(&dst.Params, flags)
	}
	return r.err
}

// maxOptions bounds STARTUP's map and REGISTER's list; drivers send fewer than ten.
const maxOptions = 64

// DecodeStartup reads the body of a STARTUP: its options.
func DecodeStartup(body []byte) (map[string]string, *cql.Error) {
	r := reader{b: body}
	n := int(r.short())
	if n > maxOptions {
		r.fail("Too many options: %d", n)
		return nil, r.err
	}
	options := make(map[string]string, n)
	for range n {
		name := r.string()
		options[string(name)] = string(r.string())
	}
	return options, r.err
}

// DecodeRegister reads the body of a REGISTER: the names of event types.
func DecodeRegister(body []byte) ([]string, *cql.Error) {
	r := reader{b: body}
	n := int(r.short())
	if n > maxOptions {
		r.fail("Too many event types: %d", n)
		return nil, r.err
	}
	events := make([]string, 0, n)
	for range n {
		events = append(events, string(r.string()))
	}
	return events, r.err
}

// DecodeAuthResponse reads the body of an AUTH_RESPONSE: the client's SASL
// token, nil when it sends none.
func DecodeAuthResponse(body []byte) ([]byte, *cql.Error) {
	r := reader{b: body}
	token := r.bytes()
	return token, r.err
}

// Payload is what follows the parts of a request's body that its flags announce:
// a custom payload, which is read over.
func Payload(h Header, body []byte) ([]byte, *cql.Error) {
	if h.Flags&FlagCustomPayload == 0 || h.Version < cql.Protocol4 {
		return body, nil
	}
	r := reader{b: body}
	for range r.short() {
		r.string()
		r.bytes()
		if r.err != nil {
			return nil, r.err
		}
	}
	return r.b, r.err
}
