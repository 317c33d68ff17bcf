package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/s2"

	"spoor/internal/kv"
	"spoor/internal/record"
)

// want is what the model holds of a record.
type want struct {
	id        string
	streamSeq uint64
}

// model is the journal as a list.
type model struct {
	records []want // records[i] has sequence number i+1
	streams map[string]uint64
	trimmed uint64
}

func (m *model) add(id, region string) {
	m.streams[region]++
	m.records = append(m.records, want{id, m.streams[region]})
}

func (m *model) check(t *testing.T, it Item) {
	t.Helper()
	w := m.records[it.Seq-1]
	if got := (want{it.Field(record.FieldEventID), it.StreamSeq}); got != w {
		t.Fatalf("record %d is %v, want %v", it.Seq, got, w)
	}
}

// TestBlocksAgainstModel: however records are grouped, and whatever their size,
// every way to read gives what was appended, after trims and restarts, beside
// records that stand alone as an earlier build wrote them.
func TestBlocksAgainstModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			fs := vfs.NewMem()
			s, j := open(t, fs)
			m := &model{streams: map[string]uint64{}}
			if seed%2 == 1 {
				s, j = writtenEarlier(t, fs, s, j, m)
			}
			for range 40 {
				appendSome(t, rnd, j, m)
				j.recent.drop(uint64(rnd.IntN(len(m.records) + 1)))
				switch rnd.IntN(12) {
				case 0:
					trimSome(t, rnd, j, m)
				case 1:
					closeAll(t, s, j)
					s, j = open(t, fs)
				}
				readSome(t, rnd, j, m)
			}
			closeAll(t, s, j)
		})
	}
}

// writtenEarlier puts records into a store as they were before there were
// blocks, each by itself.
func writtenEarlier(t *testing.T, fs vfs.FS, s *kv.Store, j *Journal, m *model) (*kv.Store, *Journal) {
	t.Helper()
	b := s.NewBatch()
	for i := range 40 {
		e := entry(t, fmt.Sprint("early-", i), "us-east-1")
		m.add(fmt.Sprint("early-", i), "us-east-1")
		if err := setEntry(b.Raw(), appendKey(nil, uint64(i+1)), uint64(i+1), e.Data); err != nil {
			t.Fatal(err)
		}
	}
	b.Set(streamKey(stream{"123456789012", "us-east-1"}), binary.BigEndian.AppendUint64(nil, 40))
	if err := s.Apply(b); err != nil {
		t.Fatal(err)
	}
	closeAll(t, s, j)
	return open(t, fs)
}

func appendSome(t *testing.T, rnd *rand.Rand, j *Journal, m *model) {
	t.Helper()
	sizes := []int{10, 10, 400, 3000, 9000, blockBytes - 300, blockBytes, 3 * blockBytes}
	g := Group{}
	for range []int{1, 1, 2, 7, 60}[rnd.IntN(5)] {
		id := strings.Repeat("x", rnd.IntN(1+sizes[rnd.IntN(len(sizes))])) + fmt.Sprint(len(m.records))
		region := []string{"us-east-1", "eu-west-1"}[rnd.IntN(2)]
		g.Entries = append(g.Entries, entry(t, id, region))
		m.add(id, region)
	}
	if err := j.Append(g); err != nil {
		t.Fatal(err)
	}
}

func trimSome(t *testing.T, rnd *rand.Rand, j *Journal, m *model) {
	t.Helper()
	at := uint64(rnd.IntN(len(m.records) + 1))
	got, err := j.Trim(at)
	if err != nil || got > at {
		t.Fatalf("trimmed to %d: %d (%v)", at, got, err)
	}
	m.trimmed = max(m.trimmed, got)
	if at == uint64(len(m.records)) && m.trimmed != at {
		t.Fatalf("of %d records %d were trimmed, want all", at, got)
	}
}

func readSome(t *testing.T, rnd *rand.Rand, j *Journal, m *model) {
	t.Helper()
	n := uint64(len(m.records))
	if j.Head() != n {
		t.Fatalf("the head is %d, want %d", j.Head(), n)
	}
	after := uint64(rnd.IntN(int(n)))
	to := after + uint64(rnd.IntN(int(n-after)+3))
	next := max(after, m.trimmed) + 1
	if err := j.Read(after, to, func(it Item) (bool, error) {
		if it.Seq != next {
			t.Fatalf("record %d comes where %d was to", it.Seq, next)
		}
		next++
		m.check(t, it)
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if end := max(min(to, n), max(after, m.trimmed)); next != end+1 {
		t.Fatalf("reading (%d, %d] of %d, %d trimmed, ended before %d", after, to, n, m.trimmed, next)
	}
	r := j.Reader()
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	var given []Item
	defer func() {
		for _, it := range given { // stay valid, whatever was read after them
			m.check(t, it)
		}
	}()
	for range 20 {
		seq := uint64(rnd.IntN(int(n) + 2))
		for _, get := range []func(uint64) (Item, error){r.Get, j.Get} {
			it, err := get(seq)
			if seq <= m.trimmed || seq > n {
				if !errors.Is(err, kv.ErrNotFound) {
					t.Fatalf("record %d of %d, %d trimmed: %v, want none", seq, n, m.trimmed, err)
				}
				continue
			}
			if err != nil || it.Seq != seq {
				t.Fatalf("record %d: %d (%v)", seq, it.Seq, err)
			}
			m.check(t, it)
			given = append(given, it)
		}
	}
}

// TestBlocksAreSmall: a block takes a fraction of its records, and none is so
// large that reading one record of it is dear.
func TestBlocksAreSmall(t *testing.T) {
	t.Parallel()
	s, j := open(t, vfs.NewMem())
	defer closeAll(t, s, j)
	g, raw := Group{}, 0
	for i := range 1000 {
		g.Entries = append(g.Entries, entry(t, fmt.Sprintf("%08d", i), "us-east-1"))
		raw += len(g.Entries[i].Data)
	}
	if err := j.Append(g); err != nil {
		t.Fatal(err)
	}
	keys, size := 0, 0
	if err := s.Scan([]byte{byte(kv.SpaceJournal)}, func(_, v []byte) (bool, error) {
		n, w := binary.Uvarint(v[1:])
		full, err := s2.DecodedLen(v[1+w:])
		if v[0] != blockMark || n < 2 || err != nil || full > blockBytes {
			t.Errorf("a block of %d records has %d bytes (%v)", n, full, err)
		}
		keys++
		size += len(v)
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if most := raw/(blockBytes*8/10) + 1; keys > most || size*4 > raw {
		t.Errorf("%d bytes stand in %d blocks of %d bytes together", raw, keys, size)
	}
}

// FuzzBlock: whatever stands in the store is read or called damaged, and what
// is read is within it.
func FuzzBlock(f *testing.F) {
	var raw []byte
	for i := range 3 {
		data := bytes.Repeat([]byte{byte(i)}, 10)
		raw = append(binary.AppendUvarint(binary.AppendUvarint(raw, uint64(i+1)), uint64(len(data))), data...)
	}
	f.Add(append([]byte{blockMark, 3}, s2.Encode(nil, raw)...))
	f.Add(append([]byte{blockMark, 2}, s2.Encode(nil, raw)...))
	f.Add([]byte{1, 2, 3})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, v []byte) {
		var b block
		buf, err := b.open(appendKey(nil, 7), v, nil)
		for next := uint64(7); err == nil; next++ {
			var ok bool
			if ok, err = b.read(); !ok {
				if err == nil && (b.last != next-1 || len(b.rest) != 0) {
					t.Fatalf("the block ended before record %d of %d with %d bytes left", next, b.last, len(b.rest))
				}
				break
			}
			if len(b.data) > max(len(buf), len(v)) {
				t.Fatalf("record %d has %d bytes", next, len(b.data))
			}
		}
		if err != nil && !errors.Is(err, record.ErrDamaged) {
			t.Fatalf("%v is no damage", err)
		}
	})
}
