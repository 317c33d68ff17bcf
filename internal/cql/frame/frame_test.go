package frame_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/datastax/go-cassandra-native-protocol/compression/lz4"
	"github.com/datastax/go-cassandra-native-protocol/compression/snappy"
	"github.com/datastax/go-cassandra-native-protocol/datatype"
	oracle "github.com/datastax/go-cassandra-native-protocol/frame"
	"github.com/datastax/go-cassandra-native-protocol/message"
	"github.com/datastax/go-cassandra-native-protocol/primitive"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"spoor/internal/cql"
	"spoor/internal/cql/frame"
)

// option is a type that is written as its code alone.
type option uint16

const (
	typeInt     option = 0x0009
	typeVarchar option = 0x000D
)

func (o option) AppendOption(dst []byte, _ cql.ProtocolVersion) []byte {
	return binary.BigEndian.AppendUint16(dst, uint16(o))
}

func codec(c frame.Compression) oracle.Codec {
	switch c {
	case frame.LZ4:
		return oracle.NewCodecWithCompression(lz4.Compressor{})
	case frame.Snappy:
		return oracle.NewCodecWithCompression(snappy.Compressor{})
	}
	return oracle.NewCodec()
}

// compareTypes compares the oracle's types by their codes.
var compareTypes = cmp.Comparer(func(a, b datatype.DataType) bool { return a.Code() == b.Code() })

var versions = []cql.ProtocolVersion{cql.Protocol3, cql.Protocol4}

// request encodes a message with the oracle and takes the frame apart.
func request(t testing.TB, v cql.ProtocolVersion, stream int16, m message.Message, c frame.Compression) (frame.Header, []byte) {
	t.Helper()
	f := oracle.NewFrame(primitive.ProtocolVersion(v), stream, m)
	f.SetCompress(c != frame.None)
	var buf bytes.Buffer
	if err := codec(c).EncodeFrame(f, &buf); err != nil {
		t.Fatal(err)
	}
	h, perr := frame.ParseRequestHeader(buf.Next(frame.HeaderSize), frame.DefaultMaxBody)
	if perr != nil {
		t.Fatal(perr)
	}
	if int(h.Length) != buf.Len() || h.Stream != stream || h.Version != v {
		t.Fatalf("header %+v of a body of %d bytes", h, buf.Len())
	}
	body := buf.Bytes()
	if h.Flags&frame.FlagCompressed != 0 {
		var err error
		if body, err = frame.Decompress(c, nil, body, frame.DefaultMaxBody); err != nil {
			t.Fatal(err)
		}
	}
	return h, body
}

func TestQueryAgainstOracle(t *testing.T) {
	t.Parallel()
	serial, timestamp := primitive.ConsistencyLevelLocalSerial, int64(-1234567)
	for name, c := range map[string]struct {
		options *message.QueryOptions
		want    frame.Params
		since   cql.ProtocolVersion
	}{
		"nothing": {&message.QueryOptions{Consistency: primitive.ConsistencyLevelOne},
			frame.Params{Consistency: cql.One, SerialConsistency: cql.Serial}, 3},
		"all": {&message.QueryOptions{
			Consistency:      primitive.ConsistencyLevelLocalQuorum,
			PositionalValues: []*primitive.Value{primitive.NewValue([]byte{1, 2}), primitive.NewNullValue(), primitive.NewValue([]byte{})},
			SkipMetadata:     true, PageSize: 5000, PagingState: []byte{9, 8}, SerialConsistency: &serial, DefaultTimestamp: &timestamp,
		}, frame.Params{
			Consistency: cql.LocalQuorum, SerialConsistency: cql.LocalSerial,
			Values:       []frame.Value{{Data: []byte{1, 2}}, {Kind: frame.ValueNull}, {Data: []byte{}}},
			SkipMetadata: true, PageSize: 5000, PagingState: []byte{9, 8}, Timestamp: timestamp, HasTimestamp: true,
		}, 3},
		"named": {&message.QueryOptions{NamedValues: map[string]*primitive.Value{"näme": primitive.NewValue([]byte{1})}},
			frame.Params{Named: true, Values: []frame.Value{{Name: []byte("näme"), Data: []byte{1}}}, SerialConsistency: cql.Serial}, 3},
		"unset": {&message.QueryOptions{PositionalValues: []*primitive.Value{primitive.NewUnsetValue()}},
			frame.Params{Values: []frame.Value{{Kind: frame.ValueUnset}}, SerialConsistency: cql.Serial}, 4},
	} {
		for _, v := range versions {
			if v < c.since {
				continue
			}
			for _, compression := range []frame.Compression{frame.None, frame.LZ4, frame.Snappy} {
				t.Run(fmt.Sprintf("%s/v%d/%d", name, v, compression), func(t *testing.T) {
					t.Parallel()
					_, body := request(t, v, 7, &message.Query{Query: "SELECT 'ä'", Options: c.options}, compression)
					var q frame.Query
					if err := frame.DecodeQuery(body, v, &q); err != nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(frame.Query{Text: []byte("SELECT 'ä'"), Params: c.want}, q); diff != "" {
						t.Errorf("QUERY (-want +got):\n%s", diff)
					}
					_, body = request(t, v, -1, &message.Execute{QueryId: []byte{1, 2, 3}, Options: c.options}, compression)
					e := frame.Execute{Params: frame.Params{PageSize: 3, HasTimestamp: true, Values: []frame.Value{{Kind: frame.ValueUnset}}}}
					if err := frame.DecodeExecute(body, v, &e); err != nil {
						t.Fatal(err)
					}
					e.Values = append([]frame.Value(nil), e.Values...)
					if diff := cmp.Diff(frame.Execute{ID: []byte{1, 2, 3}, Params: c.want}, e); diff != "" {
						t.Errorf("EXECUTE (-want +got):\n%s", diff)
					}
				})
			}
		}
	}
}

func TestBatchAgainstOracle(t *testing.T) {
	t.Parallel()
	timestamp := int64(42)
	m := &message.Batch{
		Type: primitive.BatchTypeUnlogged,
		Children: []*message.BatchChild{
			{Query: "INSERT", Values: []*primitive.Value{primitive.NewValue([]byte{1}), primitive.NewNullValue()}},
			{Id: []byte{7, 7}},
			{Query: "DELETE", Values: []*primitive.Value{primitive.NewValue([]byte{2})}},
		},
		Consistency: primitive.ConsistencyLevelQuorum, DefaultTimestamp: &timestamp,
	}
	for _, v := range versions {
		_, body := request(t, v, 1, m, frame.None)
		var b frame.Batch
		for range 2 { // the second time into what the first left
			if err := frame.DecodeBatch(body, v, &b); err != nil {
				t.Fatal(err)
			}
		}
		want := []frame.BatchEntry{
			{Text: []byte("INSERT"), Values: []frame.Value{{Data: []byte{1}}, {Kind: frame.ValueNull}}},
			{ID: []byte{7, 7}, Values: []frame.Value{}},
			{Text: []byte("DELETE"), Values: []frame.Value{{Data: []byte{2}}}},
		}
		if diff := cmp.Diff(want, b.Entries); diff != "" {
			t.Errorf("v%d (-want +got):\n%s", v, diff)
		}
		if b.Kind != frame.BatchUnlogged || b.Consistency != cql.Quorum || b.Timestamp != 42 || !b.HasTimestamp {
			t.Errorf("v%d: %+v", v, b)
		}
	}
}

func TestOtherRequestsAgainstOracle(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		_, body := request(t, v, 0, &message.Prepare{Query: "SELECT"}, frame.None)
		if text, err := frame.DecodePrepare(body); err != nil || string(text) != "SELECT" {
			t.Errorf("PREPARE: %q, %v", text, err)
		}
		_, body = request(t, v, 0, message.NewStartup("COMPRESSION", "lz4"), frame.None)
		options, err := frame.DecodeStartup(body)
		if diff := cmp.Diff(map[string]string{"CQL_VERSION": "3.0.0", "COMPRESSION": "lz4"}, options); err != nil || diff != "" {
			t.Errorf("STARTUP: %v %s", err, diff)
		}
		_, body = request(t, v, 0, &message.Register{EventTypes: []primitive.EventType{primitive.EventTypeSchemaChange}}, frame.None)
		if events, err := frame.DecodeRegister(body); err != nil || len(events) != 1 || events[0] != "SCHEMA_CHANGE" {
			t.Errorf("REGISTER: %v, %v", events, err)
		}
		_, body = request(t, v, 0, &message.AuthResponse{Token: []byte("\x00u\x00p")}, frame.None)
		if token, err := frame.DecodeAuthResponse(body); err != nil || string(token) != "\x00u\x00p" {
			t.Errorf("AUTH_RESPONSE: %q, %v", token, err)
		}
	}
}

func TestCustomPayloadIsReadOver(t *testing.T) {
	t.Parallel()
	f := oracle.NewFrame(primitive.ProtocolVersion4, 1, &message.Query{Query: "SELECT", Options: &message.QueryOptions{}})
	f.SetCustomPayload(map[string][]byte{"k": {1, 2}, "empty": nil})
	f.RequestTracingId(true)
	var buf bytes.Buffer
	if err := oracle.NewCodec().EncodeFrame(f, &buf); err != nil {
		t.Fatal(err)
	}
	h, perr := frame.ParseRequestHeader(buf.Next(frame.HeaderSize), frame.DefaultMaxBody)
	if perr != nil {
		t.Fatal(perr)
	}
	body, perr := frame.Payload(h, buf.Bytes())
	if perr != nil {
		t.Fatal(perr)
	}
	var q frame.Query
	if perr := frame.DecodeQuery(body, h.Version, &q); perr != nil || string(q.Text) != "SELECT" {
		t.Errorf("text %q, error %v", q.Text, perr)
	}
}

// decode reads a response with the oracle.
func decode(t testing.TB, b []byte, c frame.Compression) *oracle.Frame {
	t.Helper()
	r := bytes.NewReader(b)
	f, err := codec(c).DecodeFrame(r)
	if err != nil {
		t.Fatal(err)
	}
	if r.Len() != 0 {
		t.Fatalf("%d bytes are left", r.Len())
	}
	return f
}

func columns(keyspaces ...string) []frame.ColumnSpec {
	var list []frame.ColumnSpec
	for i, k := range keyspaces {
		list = append(list, frame.ColumnSpec{Keyspace: k, Table: "t", Name: fmt.Sprint("c", i), Type: []frame.TypeOption{typeInt, typeVarchar}[i%2]})
	}
	return list
}

func oracleColumns(keyspaces ...string) []*message.ColumnMetadata {
	var list []*message.ColumnMetadata
	for i, k := range keyspaces {
		list = append(list, &message.ColumnMetadata{Keyspace: k, Table: "t", Name: fmt.Sprint("c", i), Type: []datatype.DataType{datatype.Int, datatype.Varchar}[i%2]})
	}
	return list
}

// TestResponsesAgainstOracle builds each response after another one in the same
// Response and reads it with the oracle.
func TestResponsesAgainstOracle(t *testing.T) {
	t.Parallel()
	same, mixed := []string{"a", "a", "a"}, []string{"a", "b"}
	var long []byte // the oracle cannot decompress what shrinks to less than an eighth
	for i := range 3000 {
		long = strconv.AppendInt(long, int64(i*i), 36)
	}
	change := frame.SchemaChange{Type: frame.Updated, Target: frame.TargetTable, Keyspace: "k", Name: "t"}
	for name, c := range map[string]struct {
		build func(*frame.Response)
		want  message.Message
		v3    message.Message // when it is another one
	}{
		"ready":          {func(r *frame.Response) { r.Ready() }, &message.Ready{}, nil},
		"authenticate":   {func(r *frame.Response) { r.Authenticate("A") }, &message.Authenticate{Authenticator: "A"}, nil},
		"auth challenge": {func(r *frame.Response) { r.AuthChallenge([]byte("n")) }, &message.AuthChallenge{Token: []byte("n")}, nil},
		"auth success":   {func(r *frame.Response) { r.AuthSuccess(nil) }, &message.AuthSuccess{}, nil},
		"supported": {func(r *frame.Response) { r.Supported(map[string][]string{"A": {"b", "c"}, "D": {}}) },
			&message.Supported{Options: map[string][]string{"A": {"b", "c"}, "D": {}}}, nil},
		"void":         {func(r *frame.Response) { r.Void() }, &message.VoidResult{}, nil},
		"set keyspace": {func(r *frame.Response) { r.SetKeyspace("ks") }, &message.SetKeyspaceResult{Keyspace: "ks"}, nil},
		"schema change": {func(r *frame.Response) { r.SchemaChange(change) }, &message.SchemaChangeResult{
			ChangeType: primitive.SchemaChangeTypeUpdated, Target: primitive.SchemaChangeTargetTable, Keyspace: "k", Object: "t"}, nil},
		"keyspace event": {func(r *frame.Response) {
			r.SchemaChangeEvent(frame.SchemaChange{Type: frame.Created, Target: frame.TargetKeyspace, Keyspace: "k"})
		}, &message.SchemaChangeEvent{ChangeType: primitive.SchemaChangeTypeCreated, Target: primitive.SchemaChangeTargetKeyspace, Keyspace: "k"}, nil},
		"prepared": {func(r *frame.Response) {
			r.Prepared([]byte{1, 2}, frame.NewMetadata(columns(same...)), []uint16{1, 0}, frame.NewMetadata(columns(mixed...)))
		}, &message.PreparedResult{PreparedQueryId: []byte{1, 2},
			VariablesMetadata: &message.VariablesMetadata{PkIndices: []uint16{1, 0}, Columns: oracleColumns(same...)},
			ResultMetadata:    &message.RowsMetadata{ColumnCount: 2, Columns: oracleColumns(mixed...)}},
			&message.PreparedResult{PreparedQueryId: []byte{1, 2},
				VariablesMetadata: &message.VariablesMetadata{Columns: oracleColumns(same...)},
				ResultMetadata:    &message.RowsMetadata{ColumnCount: 2, Columns: oracleColumns(mixed...)}}},
		"prepared without rows": {func(r *frame.Response) {
			r.Prepared([]byte{1}, frame.NewMetadata(nil), nil, nil)
		}, &message.PreparedResult{PreparedQueryId: []byte{1}, VariablesMetadata: &message.VariablesMetadata{}, ResultMetadata: &message.RowsMetadata{}}, nil},
		"rows": {func(r *frame.Response) {
			r.Rows(frame.NewMetadata(columns(mixed...)))
			r.Cell([]byte{1})
			r.Null()
			r.EndRow()
			r.CloseCell(append(r.OpenCell(), long...))
			r.CloseCell(r.OpenCell())
			r.EndRow()
		}, &message.RowsResult{Metadata: &message.RowsMetadata{ColumnCount: 2, Columns: oracleColumns(mixed...)},
			Data: message.RowSet{{[]byte{1}, nil}, {long, []byte{}}}}, nil},
		"page": {func(r *frame.Response) {
			r.Rows(frame.NewMetadata(columns("a")))
			r.Cell([]byte{1})
			r.EndRow()
			r.PagingState([]byte("state"))
			r.Cell([]byte{2})
			r.EndRow()
		}, &message.RowsResult{Metadata: &message.RowsMetadata{ColumnCount: 1, Columns: oracleColumns("a"), PagingState: []byte("state")},
			Data: message.RowSet{{[]byte{1}}, {[]byte{2}}}}, nil},
		"page without metadata": {func(r *frame.Response) {
			r.SkipMetadata(true)
			r.Rows(frame.NewMetadata(columns("a")))
			r.Cell([]byte{1})
			r.EndRow()
			r.PagingState([]byte("state"))
		}, &message.RowsResult{Metadata: &message.RowsMetadata{ColumnCount: 1, PagingState: []byte("state")}, Data: message.RowSet{{[]byte{1}}}}, nil},
	} {
		for _, v := range versions {
			for _, compression := range []frame.Compression{frame.None, frame.LZ4, frame.Snappy} {
				t.Run(fmt.Sprintf("%s/v%d/%d", name, v, compression), func(t *testing.T) {
					t.Parallel()
					var r frame.Response
					for _, warning := range []string{"", "careful"} {
						r.Reset(v, 300)
						r.Rows(frame.NewMetadata(columns("x")))
						r.Cell([]byte("thrown away"))
						if warning != "" {
							r.Warn(warning)
						}
						c.build(&r)
						f := decode(t, r.Finish(compression), compression)
						want := c.want
						if v == cql.Protocol3 && c.v3 != nil {
							want = c.v3
						}
						if diff := cmp.Diff(want, f.Body.Message, compareTypes, cmpopts.EquateEmpty()); diff != "" {
							t.Errorf("message (-want +got):\n%s", diff)
						}
						if got := strings.Join(f.Body.Warnings, ""); v >= cql.Protocol4 && got != warning {
							t.Errorf("warnings %q, want %q", got, warning)
						}
						if f.Header.StreamId != 300 || f.Header.Version != primitive.ProtocolVersion(v) || !f.Header.IsResponse {
							t.Errorf("header %v", f.Header)
						}
					}
				})
			}
		}
	}
}

func TestErrorsAgainstOracle(t *testing.T) {
	t.Parallel()
	q := primitive.ConsistencyLevelQuorum
	for name, c := range map[string]struct {
		err      *cql.Error
		want, v3 message.Message
	}{
		"server":      {cql.Errorf(cql.CodeServer, "m"), &message.ServerError{ErrorMessage: "m"}, nil},
		"protocol":    {cql.ProtocolError("m"), &message.ProtocolError{ErrorMessage: "m"}, nil},
		"credentials": {cql.BadCredentials("alice"), &message.AuthenticationError{ErrorMessage: "Provided username alice and/or password are incorrect"}, nil},
		"overloaded":  {cql.Overloaded("m"), &message.Overloaded{ErrorMessage: "m"}, nil},
		"syntax":      {cql.Syntax("m"), &message.SyntaxError{ErrorMessage: "m"}, nil},
		"denied":      {cql.Unauthorized("m"), &message.Unauthorized{ErrorMessage: "m"}, nil},
		"invalid":     {cql.Invalid("m"), &message.Invalid{ErrorMessage: "m"}, nil},
		"config":      {cql.Config("m"), &message.ConfigError{ErrorMessage: "m"}, nil},
		"truncate":    {cql.Errorf(cql.CodeTruncate, "m"), &message.TruncateError{ErrorMessage: "m"}, nil},
		"exists": {cql.AlreadyExists("k", "t"), &message.AlreadyExists{
			ErrorMessage: `Cannot add already existing table "t" to keyspace "k"`, Keyspace: "k", Table: "t"}, nil},
		"unavailable": {cql.Unavailable(cql.Quorum, 2, 1), &message.Unavailable{
			ErrorMessage: "Cannot achieve consistency level QUORUM", Consistency: q, Required: 2, Alive: 1}, nil},
		"read timeout": {cql.ReadTimeout(cql.Quorum, 1, 2, true), &message.ReadTimeout{
			ErrorMessage: "Operation timed out - received only 1 responses.", Consistency: q, Received: 1, BlockFor: 2, DataPresent: true}, nil},
		"write timeout": {cql.WriteTimeout(cql.Quorum, 1, 2, cql.WriteCAS), &message.WriteTimeout{
			ErrorMessage: "Operation timed out - received only 1 responses.", Consistency: q, Received: 1, BlockFor: 2, WriteType: primitive.WriteTypeCas}, nil},
		"read failure": {&cql.Error{Code: cql.CodeReadFailure, Message: "m", Consistency: cql.Quorum, Received: 1, Required: 2, Failures: 3},
			&message.ReadFailure{ErrorMessage: "m", Consistency: q, Received: 1, BlockFor: 2, NumFailures: 3},
			&message.ReadTimeout{ErrorMessage: "m", Consistency: q, Received: 1, BlockFor: 2}},
		"write failure": {&cql.Error{Code: cql.CodeWriteFailure, Message: "m", Consistency: cql.Quorum, Received: 1, Required: 2, Failures: 3, WriteType: cql.WriteBatch},
			&message.WriteFailure{ErrorMessage: "m", Consistency: q, Received: 1, BlockFor: 2, NumFailures: 3, WriteType: primitive.WriteTypeBatch},
			&message.WriteTimeout{ErrorMessage: "m", Consistency: q, Received: 1, BlockFor: 2, WriteType: primitive.WriteTypeBatch}},
		"function": {&cql.Error{Code: cql.CodeFunctionFailure, Message: "m", Keyspace: "k", Function: "f", ArgTypes: []string{"int"}},
			&message.FunctionFailure{ErrorMessage: "m", Keyspace: "k", Function: "f", Arguments: []string{"int"}},
			&message.Invalid{ErrorMessage: "m"}},
		"unprepared": {&cql.Error{Code: cql.CodeUnprepared, Message: "m", StatementID: []byte{1, 2}}, &message.Unprepared{ErrorMessage: "m", Id: []byte{1, 2}}, nil},
	} {
		for _, v := range versions {
			var r frame.Response
			r.Reset(v, 1)
			r.Error(c.err)
			want := c.want
			if v == cql.Protocol3 && c.v3 != nil {
				want = c.v3
			}
			if diff := cmp.Diff(want, decode(t, r.Finish(frame.None), frame.None).Body.Message); diff != "" {
				t.Errorf("%s, v%d (-want +got):\n%s", name, v, diff)
			}
		}
	}
}

func TestLongErrorText(t *testing.T) {
	t.Parallel()
	var r frame.Response
	r.Reset(cql.Protocol4, 1)
	r.Error(cql.Invalid("x%s", strings.Repeat("ä", 1<<16)))
	got := decode(t, r.Finish(frame.None), frame.None).Body.Message.(*message.Invalid).ErrorMessage
	if want := "x" + strings.Repeat("ä", 1<<15-1); got != want {
		t.Errorf("a text of %d bytes, want %d", len(got), len(want))
	}
}

func TestHeaderErrors(t *testing.T) {
	t.Parallel()
	version := "Invalid or unsupported protocol version (%d); the lowest supported version is 3 and the greatest is 4"
	for name, c := range map[string]struct {
		in     []byte
		text   string
		stream int16
	}{
		"version 5":  {[]byte{5, 0, 1, 2, 5, 0, 0, 0, 0}, fmt.Sprintf(version, 5), 0},
		"version 6":  {[]byte{6, 0x10, 0, 2, 5, 0, 0, 0, 0}, fmt.Sprintf(version, 6), 0},
		"version 2":  {[]byte{2, 0, 0xFE, 5, 0, 0, 0, 0, 0}, fmt.Sprintf(version, 2), 0},
		"HTTP":       {[]byte("GET / HTTP"), fmt.Sprintf(version, 'G'), 0},
		"response":   {[]byte{0x84, 0, 0, 1, 8, 0, 0, 0, 0}, "Wrong protocol direction, expected REQUEST, got RESPONSE", 1},
		"no opcode":  {[]byte{4, 0, 0, 1, 0x44, 0, 0, 0, 0}, "Unknown opcode 68", 1},
		"gap opcode": {[]byte{4, 0, 0, 1, 4, 0, 0, 0, 0}, "Unknown opcode 4", 1},
		"result":     {[]byte{4, 0, 0, 1, 8, 0, 0, 0, 0}, "Wrong protocol direction, expected REQUEST, got RESPONSE for opcode RESULT", 1},
		"1 GB":       {[]byte{4, 0, 0, 1, 7, 0x40, 0, 0, 0}, "Request is too big: length 1073741824 exceeds maximum allowed length 16777216.", 1},
		"negative":   {[]byte{4, 0, 0, 1, 7, 0xFF, 0, 0, 0}, "Request is too big: length 4278190080 exceeds maximum allowed length 16777216.", 1},
	} {
		h, err := frame.ParseRequestHeader(c.in, frame.DefaultMaxBody)
		if err == nil || err.Code != cql.CodeProtocol || err.Message != c.text {
			t.Errorf("%s: error %v, want %q", name, err, c.text)
		}
		if h.Stream != c.stream || h.Version != cql.Protocol4 {
			t.Errorf("%s: answered on stream %d in version %d", name, h.Stream, h.Version)
		}
	}
}

func TestMalformedBodies(t *testing.T) {
	t.Parallel()
	query := func(b ...byte) *cql.Error {
		return frame.DecodeQuery(append([]byte{0, 0, 0, 1, 'x', 0, 1}, b...), cql.Protocol4, new(frame.Query))
	}
	batch := func(b ...byte) *cql.Error { return frame.DecodeBatch(b, cql.Protocol4, new(frame.Batch)) }
	for name, err := range map[string]*cql.Error{
		"empty":               frame.DecodeQuery(nil, cql.Protocol4, new(frame.Query)),
		"negative text":       frame.DecodeQuery([]byte{0xFF, 0xFF, 0xFF, 0xFF}, cql.Protocol4, new(frame.Query)),
		"text too long":       frame.DecodeQuery([]byte{0, 0, 0, 9, 'x'}, cql.Protocol4, new(frame.Query)),
		"bad UTF-8":           frame.DecodeQuery([]byte{0, 0, 0, 1, 0xFF, 0, 1, 0}, cql.Protocol4, new(frame.Query)),
		"unknown consistency": frame.DecodeQuery([]byte{0, 0, 0, 1, 'x', 0, 99, 0}, cql.Protocol4, new(frame.Query)),
		"no flags":            query(),
		"many values":         query(1, 0xFF, 0xFF, 0, 0, 0, 0),
		"cut value":           query(1, 0, 1, 0, 0, 0, 5, 1),
		"value length -3":     query(1, 0, 1, 0xFF, 0xFF, 0xFF, 0xFD),
		"cut page size":       query(4, 0, 0),
		"cut state":           query(8, 0, 0, 0, 9),
		"cut timestamp":       query(0x20, 1, 2),
		"batch kind":          batch(3, 0, 0, 0, 1, 0),
		"many entries":        batch(0, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0),
		"entry kind":          batch(0, 0, 1, 2, 0, 0, 0, 0, 0, 0),
		"named batch":         batch(0, 0, 0, 0, 1, 0x40),
		"cut batch":           batch(0, 0, 0, 0),
	} {
		if err == nil || err.Code != cql.CodeProtocol {
			t.Errorf("%s: error %v, want one of the protocol", name, err)
		}
	}
	if err := query(0); err != nil {
		t.Errorf("a good query: %v", err)
	}
}

func TestDecompressionBombs(t *testing.T) {
	t.Parallel()
	big := binary.BigEndian.AppendUint32(nil, 1<<30)
	for name, c := range map[string]struct {
		compression frame.Compression
		in          []byte
	}{
		"LZ4 1 GB":       {frame.LZ4, append(big, 1, 2, 3)},
		"LZ4 16 MB":      {frame.LZ4, []byte{1, 0, 0, 0, 1, 2}},
		"LZ4 cut":        {frame.LZ4, []byte{0, 0}},
		"LZ4 shorter":    {frame.LZ4, []byte{0, 0, 0, 9, 0x10, 'a'}},
		"LZ4 garbage":    {frame.LZ4, []byte{0, 0, 0, 9, 0xFF, 0xFF, 0xFF}},
		"Snappy 1 GB":    {frame.Snappy, binary.AppendUvarint(nil, 1<<30)},
		"Snappy 16 MB":   {frame.Snappy, append(binary.AppendUvarint(nil, 1<<24), 1, 2)},
		"Snappy empty":   {frame.Snappy, nil},
		"Snappy garbage": {frame.Snappy, []byte{9, 0xFF, 0xFF, 0xFF}},
		"none agreed on": {frame.None, []byte{0, 0, 0, 0}},
	} {
		if b, err := frame.Decompress(c.compression, nil, c.in, frame.DefaultMaxBody); err == nil {
			t.Errorf("%s gives %d bytes", name, len(b))
		}
	}
	for _, c := range []frame.Compression{frame.LZ4, frame.Snappy} {
		if b, err := frame.Decompress(c, nil, []byte{0, 0, 0, 0}, 10); c == frame.LZ4 && (err != nil || len(b) != 0) {
			t.Errorf("an empty body: %v, %v", b, err)
		}
	}
}
