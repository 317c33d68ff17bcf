package frame_test

import (
	"bytes"
	"testing"

	oracle "github.com/datastax/go-cassandra-native-protocol/frame"
	"github.com/datastax/go-cassandra-native-protocol/message"
	"github.com/datastax/go-cassandra-native-protocol/primitive"

	"spoor/internal/cql"
	"spoor/internal/cql/frame"
)

// encoded gives a frame's bytes as the oracle writes them.
func encoded(f *testing.F, v primitive.ProtocolVersion, m message.Message) []byte {
	var buf bytes.Buffer
	if err := oracle.NewCodec().EncodeFrame(oracle.NewFrame(v, 1, m), &buf); err != nil {
		f.Fatal(err)
	}
	return buf.Bytes()
}

// FuzzRequest decodes arbitrary frames. Whatever the decoder accepts must hold
// no more than the frame did, and the oracle must read a query the same way.
func FuzzRequest(f *testing.F) {
	values := []*primitive.Value{primitive.NewValue([]byte{1}), primitive.NewNullValue()}
	options := &message.QueryOptions{PositionalValues: values, PageSize: 7, PagingState: []byte{3}}
	for _, v := range []primitive.ProtocolVersion{primitive.ProtocolVersion3, primitive.ProtocolVersion4} {
		f.Add(encoded(f, v, &message.Query{Query: "SELECT", Options: options}))
		f.Add(encoded(f, v, &message.Execute{QueryId: []byte{1}, Options: options}))
		f.Add(encoded(f, v, &message.Batch{Children: []*message.BatchChild{{Query: "INSERT", Values: values}, {Id: []byte{1}}}}))
		f.Add(encoded(f, v, &message.Prepare{Query: "SELECT"}))
		f.Add(encoded(f, v, message.NewStartup()))
		f.Add(encoded(f, v, &message.Register{EventTypes: []primitive.EventType{primitive.EventTypeSchemaChange}}))
		f.Add(encoded(f, v, &message.AuthResponse{Token: []byte{0}}))
		f.Add(encoded(f, v, &message.Options{}))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < frame.HeaderSize {
			return
		}
		h, perr := frame.ParseRequestHeader(in, frame.DefaultMaxBody)
		if perr != nil {
			if perr.Code != cql.CodeProtocol {
				t.Fatal(perr)
			}
			return
		}
		body, perr := frame.Payload(h, in[frame.HeaderSize:])
		if perr != nil {
			return
		}
		switch h.Opcode {
		case frame.OpQuery:
			var q frame.Query
			if perr = frame.DecodeQuery(body, h.Version, &q); perr == nil {
				checkQuery(t, h, body, &q)
			}
		case frame.OpExecute:
			perr = frame.DecodeExecute(body, h.Version, new(frame.Execute))
		case frame.OpBatch:
			var b frame.Batch
			if perr = frame.DecodeBatch(body, h.Version, &b); perr == nil && 5*len(b.Entries) > len(body) {
				t.Fatalf("%d entries in %d bytes", len(b.Entries), len(body))
			}
		case frame.OpPrepare:
			_, perr = frame.DecodePrepare(body)
		case frame.OpStartup:
			_, perr = frame.DecodeStartup(body)
		case frame.OpRegister:
			_, perr = frame.DecodeRegister(body)
		case frame.OpAuthResponse:
			_, perr = frame.DecodeAuthResponse(body)
		}
		if perr != nil && perr.Code != cql.CodeProtocol {
			t.Fatal(perr)
		}
	})
}

func checkQuery(t *testing.T, h frame.Header, body []byte, q *frame.Query) {
	if 4*len(q.Values) > len(body) {
		t.Fatalf("%d values in %d bytes", len(q.Values), len(body))
	}
	header := &oracle.Header{Version: primitive.ProtocolVersion(h.Version), OpCode: primitive.OpCodeQuery, BodyLength: int32(len(body))}
	b, err := oracle.NewRawCodec().DecodeBody(header, bytes.NewReader(body))
	if err != nil {
		return // the oracle refuses some flags and lengths that Cassandra takes
	}
	want := b.Message.(*message.Query)
	if want.Query != string(q.Text) || uint16(want.Options.Consistency) != uint16(q.Consistency) {
		t.Fatalf("read %q at %v, the oracle %q at %v", q.Text, q.Consistency, want.Query, want.Options.Consistency)
	}
	for i, v := range want.Options.PositionalValues {
		if !bytes.Equal(v.Contents, q.Values[i].Data) || (v.Type == primitive.ValueTypeRegular) != (q.Values[i].Kind == frame.ValueSet) {
			t.Fatalf("value %d is %+v, the oracle's %+v", i, q.Values[i], v)
		}
	}
}

// FuzzDecompress decompresses arbitrary bodies.
func FuzzDecompress(f *testing.F) {
	f.Add([]byte{0, 0, 0, 4, 0x40, 'a', 'b', 'c', 'd'})
	f.Add([]byte{4, 12, 'a', 'b', 'c', 'd'})
	f.Fuzz(func(t *testing.T, in []byte) {
		const limit = 1 << 20
		for _, c := range []frame.Compression{frame.LZ4, frame.Snappy} {
			if out, err := frame.Decompress(c, nil, in, limit); err == nil && len(out) > limit {
				t.Fatalf("%d bytes", len(out))
			}
		}
	})
}

func BenchmarkDecodeExecute(b *testing.B) {
	_, body := request(b, cql.Protocol4, 1, &message.Execute{QueryId: make([]byte, 16), Options: &message.QueryOptions{
		Consistency: primitive.ConsistencyLevelLocalQuorum,
		PositionalValues: []*primitive.Value{primitive.NewValue(make([]byte, 16)), primitive.NewValue(make([]byte, 4)),
			primitive.NewValue(make([]byte, 10)), primitive.NewValue(make([]byte, 200))},
	}}, frame.None)
	var e frame.Execute
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if err := frame.DecodeExecute(body, cql.Protocol4, &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMustJSONs(b *testing.B) {
	for name, c := range map[string]frame.Compression{"plain": frame.None, "lz4": frame.LZ4, "snappy": frame.Snappy} {
		b.Run(name, func(b *testing.B) {
			meta := frame.NewMetadata(columns("a", "a", "a", "a"))
			value := []byte("some value of forty bytes, more or less.")
			var r frame.Response
			b.ReportAllocs()
			for b.Loop() {
				r.Reset(cql.Protocol4, 1)
				r.Rows(meta)
				for range 100 {
					for range 4 {
						r.Cell(value)
					}
					r.EndRow()
				}
				b.SetBytes(int64(len(r.Finish(c))))
			}
		})
	}
}

func BenchmarkEncodeVoid(b *testing.B) {
	var r frame.Response
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(cql.Protocol4, 1)
		r.Void()
		r.Finish(frame.None)
	}
}
