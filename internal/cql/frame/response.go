package frame

import (
	"encoding/binary"
	"sort"

	"spoor/internal/cql"
)

// ResultKind is the kind of a RESULT message (section 4.2.5).
type ResultKind int32

// The kinds of results.
const (
	ResultVoid         ResultKind = 1
	ResultRows         ResultKind = 2
	ResultSetKeyspace  ResultKind = 3
	ResultPrepared     ResultKind = 4
	ResultSchemaChange ResultKind = 5
)

// Response builds one response frame in a buffer that is used again. Calling a
// message's method starts the body anew, so the last message counts. A Response
// is owned by one goroutine.
//
// The zero value is not usable; see Reset.
type Response struct {
	buf          []byte // header and body
	spare        []byte // what compression writes to
	header       Header
	warnings     []string
	skipMetadata bool

	kind     ResultKind // 0 when the message is no RESULT
	keyspace string
	change   SchemaChange

	rows struct {
		meta  *Metadata
		flags int // where the metadata's flags are
		tail  int // where the paging state would be
		count int // where the number of rows is
		n     uint32
		cell  int // where the open cell's length is; 0 when none is open
	}
}

// Reset makes r empty, to answer a request on stream in version.
func (r *Response) Reset(version cql.ProtocolVersion, stream int16) {
	*r = Response{buf: r.buf[:0], spare: r.spare, header: Header{Version: version, Stream: stream}, warnings: r.warnings[:0]}
	r.begin(OpError)
}

// SkipMetadata makes the next Rows leave out the columns' descriptions, as an
// EXECUTE may ask for.
func (r *Response) SkipMetadata(skip bool) { r.skipMetadata = skip }

// Warn adds a warning, which goes with whatever message is sent. Version 3 has
// none.
func (r *Response) Warn(text string) { r.warnings = append(r.warnings, text) }

// Version is the protocol version that the response is written in.
func (r *Response) Version() cql.ProtocolVersion { return r.header.Version }

// Kind is the kind of the RESULT built, or 0.
func (r *Response) Kind() ResultKind { return r.kind }

// Keyspace is the keyspace of a SetKeyspace result.
func (r *Response) Keyspace() string { return r.keyspace }

// Change is the change of a SchemaChange result.
func (r *Response) Change() SchemaChange { return r.change }

// RowCount is the number of rows ended so far.
func (r *Response) RowCount() int { return int(r.rows.n) }

// Size is how many bytes the frame has so far, uncompressed.
func (r *Response) Size() int { return len(r.buf) }

// Cap is how many bytes of memory the response holds on to.
func (r *Response) Cap() int { return cap(r.buf) + cap(r.spare) }

func (r *Response) begin(op Opcode) {
	r.header.Opcode = op
	r.kind = 0
	r.rows.cell = 0
	r.rows.n = 0
	var zero [HeaderSize]byte
	r.buf = append(r.buf[:0], zero[:]...)
}

func (r *Response) beginResult(kind ResultKind) {
	r.begin(OpResult)
	r.kind = kind
	r.int32(int32(kind))
}

func (r *Response) int32(v int32)   { r.buf = binary.BigEndian.AppendUint32(r.buf, uint32(v)) }
func (r *Response) uint16(v uint16) { r.buf = binary.BigEndian.AppendUint16(r.buf, v) }
func (r *Response) string(s string) { r.buf = appendString(r.buf, s) }

// Ready is the answer to STARTUP without authentication and to REGISTER.
func (r *Response) Ready() { r.begin(OpReady) }

// Authenticate is the answer to STARTUP that names an authenticator class.
func (r *Response) Authenticate(class string) {
	r.begin(OpAuthenticate)
	r.string(class)
}

// AuthChallenge is the server's next SASL token.
func (r *Response) AuthChallenge(token []byte) {
	r.begin(OpAuthChallenge)
	r.buf = AppendValue(r.buf, token)
}

// AuthSuccess ends the SASL exchange.
func (r *Response) AuthSuccess(token []byte) {
	r.begin(OpAuthSuccess)
	r.buf = AppendValue(r.buf, token)
}

// Supported is the answer to OPTIONS.
func (r *Response) Supported(options map[string][]string) {
	r.begin(OpSupported)
	names := make([]string, 0, len(options))
	for name := range options {
		names = append(names, name)
	}
	sort.Strings(names)
	r.uint16(uint16(len(names)))
	for _, name := range names {
		r.string(name)
		r.buf = appendStringList(r.buf, options[name])
	}
}

// Void is a result without content.
func (r *Response) Void() { r.beginResult(ResultVoid) }

// SetKeyspace is the result of USE. The server changes the connection's
// keyspace when it sends it.
func (r *Response) SetKeyspace(keyspace string) {
	r.beginResult(ResultSetKeyspace)
	r.keyspace = keyspace
	r.string(keyspace)
}

// ChangeType says what happened to a schema object.
type ChangeType string

// The change types.
const (
	Created ChangeType = "CREATED"
	Updated ChangeType = "UPDATED"
	Dropped ChangeType = "DROPPED"
)

// Target says what kind of schema object changed.
type Target string

// The targets that exist in both versions.
const (
	TargetKeyspace Target = "KEYSPACE"
	TargetTable    Target = "TABLE"
	TargetType     Target = "TYPE"
)

// SchemaChange is one change of the schema. Name is empty for a keyspace.
type SchemaChange struct {
	Type           ChangeType
	Target         Target
	Keyspace, Name string
}

func (r *Response) schemaChange(c SchemaChange) {
	r.string(string(c.Type))
	r.string(string(c.Target))
	r.string(c.Keyspace)
	if c.Target != TargetKeyspace {
		r.string(c.Name)
	}
}

// SchemaChange is the result of a schema statement. The server tells the
// connections that asked for it.
func (r *Response) SchemaChange(c SchemaChange) {
	r.beginResult(ResultSchemaChange)
	r.change = c
	r.schemaChange(c)
}

// SchemaChangeEvent is the EVENT of a schema change.
func (r *Response) SchemaChangeEvent(c SchemaChange) {
	r.begin(OpEvent)
	r.string("SCHEMA_CHANGE")
	r.schemaChange(c)
}

// Prepared is the result of PREPARE. bind describes the markers, partitionKey
// says which of them make up the partition key, in its order (nil when not all
// are there), result describes the rows and is nil when there are none.
func (r *Response) Prepared(id []byte, bind *Metadata, partitionKey []uint16, result *Metadata) {
	r.beginResult(ResultPrepared)
	r.buf = appendShortBytes(r.buf, id)
	r.int32(int32(bind.flags()))
	r.int32(int32(len(bind.columns)))
	if r.header.Version >= cql.Protocol4 {
		r.int32(int32(len(partitionKey)))
		for _, i := range partitionKey {
			r.uint16(i)
		}
	}
	r.buf = append(r.buf, bind.encoded(r.header.Version)...)
	if result == nil {
		r.int32(metaNone)
		r.int32(0)
		return
	}
	r.int32(int32(result.flags()))
	r.int32(int32(len(result.columns)))
	r.buf = append(r.buf, result.encoded(r.header.Version)...)
}

// Rows begins a result with rows. Then, for each row, one Cell, Null or
// OpenCell/CloseCell for every column of meta in its order, and EndRow.
// PagingState may follow at any time.
func (r *Response) Rows(meta *Metadata) {
	r.beginResult(ResultRows)
	r.rows.meta = meta
	r.rows.flags = len(r.buf)
	flags := meta.flags()
	if r.skipMetadata {
		flags = metaNone
	}
	r.int32(int32(flags))
	r.int32(int32(len(meta.columns)))
	r.rows.tail = len(r.buf)
	if !r.skipMetadata {
		r.buf = append(r.buf, meta.encoded(r.header.Version)...)
	}
	r.rows.count = len(r.buf)
	r.int32(0)
}

// Cell appends a value, which is copied. A nil value is null.
func (r *Response) Cell(value []byte) { r.buf = AppendValue(r.buf, value) }

// Null appends a null.
func (r *Response) Null() { r.buf = append(r.buf, 0xFF, 0xFF, 0xFF, 0xFF) }

// OpenCell begins a value and returns the buffer to append its bytes to. The
// longer buffer goes back by CloseCell, before any other call.
func (r *Response) OpenCell() []byte {
	r.rows.cell = len(r.buf)
	r.buf = append(r.buf, 0, 0, 0, 0)
	return r.buf
}

// CloseCell ends the value that OpenCell began.
func (r *Response) CloseCell(buf []byte) {
	r.buf = buf
	binary.BigEndian.PutUint32(r.buf[r.rows.cell:], uint32(len(r.buf)-r.rows.cell-4))
}

// EndRow ends a row.
func (r *Response) EndRow() { r.rows.n++ }

// PagingState says that more rows follow and where. It is called at most once,
// after Rows.
func (r *Response) PagingState(state []byte) {
	if len(state) == 0 {
		return
	}
	flags := binary.BigEndian.Uint32(r.buf[r.rows.flags:])
	binary.BigEndian.PutUint32(r.buf[r.rows.flags:], flags|metaMorePages)
	// The state's place is before the columns; only the last step of reading a
	// page knows it, so the rows move. That costs less than encoding them apart.
	r.insert(r.rows.tail, AppendValue(nil, state))
	r.rows.count += 4 + len(state)
}

func (r *Response) insert(at int, b []byte) {
	n := len(r.buf)
	r.buf = append(r.buf, b...)
	copy(r.buf[at+len(b):], r.buf[at:n])
	copy(r.buf[at:], b)
}

// Error is an ERROR message with the fields that its code calls for. Errors
// that version 3 does not know are written as its nearest one.
func (r *Response) Error(e *cql.Error) {
	r.begin(OpError)
	code := e.Code
	if r.header.Version < cql.Protocol4 {
		switch code {
		case cql.CodeReadFailure:
			code = cql.CodeReadTimeout
		case cql.CodeWriteFailure:
			code = cql.CodeWriteTimeout
		case cql.CodeFunctionFailure:
			code = cql.CodeInvalid
		}
	}
	r.int32(int32(code))
	r.string(e.Message)
	switch code {
	case cql.CodeUnavailable, cql.CodeReadTimeout, cql.CodeWriteTimeout, cql.CodeReadFailure, cql.CodeWriteFailure:
		r.replicaError(code, e)
	case cql.CodeFunctionFailure:
		r.string(e.Keyspace)
		r.string(e.Function)
		r.buf = appendStringList(r.buf, e.ArgTypes)
	case cql.CodeAlreadyExists:
		r.string(e.Keyspace)
		r.string(e.Table)
	case cql.CodeUnprepared:
		r.buf = appendShortBytes(r.buf, e.StatementID)
	}
}

func (r *Response) replicaError(code cql.ErrorCode, e *cql.Error) {
	r.uint16(uint16(e.Consistency))
	if code == cql.CodeUnavailable {
		r.int32(e.Required)
		r.int32(e.Received)
		return
	}
	r.int32(e.Received)
	r.int32(e.Required)
	if code == cql.CodeReadFailure || code == cql.CodeWriteFailure {
		r.int32(e.Failures)
	}
	if code == cql.CodeWriteTimeout || code == cql.CodeWriteFailure {
		r.string(string(e.WriteType))
		return
	}
	present := byte(0)
	if e.DataPresent {
		present = 1
	}
	r.buf = append(r.buf, present)
}

// compressFrom is the body size, in bytes, from which compression can pay;
// smaller bodies go as they are, which the per-frame flag allows.
const compressFrom = 128

// Finish completes the frame and returns it, valid until r is used again.
// Bodies are compressed with c, which may be None.
func (r *Response) Finish(c Compression) []byte {
	if r.kind == ResultRows {
		binary.BigEndian.PutUint32(r.buf[r.rows.count:], r.rows.n)
	}
	h := r.header
	if len(r.warnings) > 0 && h.Version >= cql.Protocol4 {
		h.Flags |= FlagWarning
		r.insert(HeaderSize, appendStringList(nil, r.warnings))
	}
	if c != None && len(r.buf)-HeaderSize >= compressFrom {
		if r.compress(c) {
			h.Flags |= FlagCompressed
		}
	}
	r.buf[0] = byte(h.Version) | directionResponse
	r.buf[1] = byte(h.Flags)
	binary.BigEndian.PutUint16(r.buf[2:], uint16(h.Stream))
	r.buf[4] = byte(h.Opcode)
	binary.BigEndian.PutUint32(r.buf[5:], uint32(len(r.buf)-HeaderSize))
	return r.buf
}
