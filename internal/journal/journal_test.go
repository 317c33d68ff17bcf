package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/aws"
	"spoor/internal/kv"
	"spoor/internal/record"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func entry(t testing.TB, id, region string) Entry {
	t.Helper()
	r := record.Record{
		Caller:    &aws.Caller{Type: aws.Root, AccountID: "123456789012", PrincipalID: "123456789012", ARN: "arn:aws:iam::123456789012:root"},
		EventTime: time.Unix(1700000000, 0), EventSource: "athena.amazonaws.com", EventName: "ListWorkGroups",
		EventID: id, Region: region, AccountID: "123456789012", SourceIP: "127.0.0.1",
	}
	data, _ := r.AppendEntry(nil, nil)
	return Entry{Account: "123456789012", Region: region, Data: data}
}

func open(t testing.TB, fs vfs.FS) (*kv.Store, *Journal) {
	t.Helper()
	s, err := kv.Open("store", kv.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	j, err := Open(s, quiet)
	if err != nil {
		t.Fatal(err)
	}
	return s, j
}

func closeAll(t testing.TB, s *kv.Store, j *Journal) {
	t.Helper()
	if err := errors.Join(j.Close(), s.Close()); err != nil {
		t.Error(err)
	}
}

// TestSequenceAcrossRestart: numbers are contiguous, over the journal and for
// each stream, for concurrent callers and across a restart.
func TestSequenceAcrossRestart(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	regions := []string{"us-east-1", "eu-west-1", "us-west-2"}
	const rounds, callers, each = 3, 16, 20
	for range rounds {
		s, j := open(t, fs)
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for i := range each {
					e := entry(t, fmt.Sprintf("%d-%d", c, i), regions[(c+i)%len(regions)])
					if err := j.Append(Group{Entries: []Entry{e}}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		closeAll(t, s, j)
	}
	s, j := open(t, fs)
	defer closeAll(t, s, j)
	if want := uint64(rounds * callers * each); j.Head() != want {
		t.Fatalf("head is %d, want %d", j.Head(), want)
	}
	next, streams := uint64(1), map[string]uint64{}
	if err := j.Read(0, j.Head(), func(it Item) (bool, error) {
		if it.Seq != next {
			t.Fatalf("sequence number %d, want %d", it.Seq, next)
		}
		next++
		region := it.Field(record.FieldRegion)
		if streams[region]++; it.StreamSeq != streams[region] {
			t.Fatalf("stream %s has number %d, want %d", region, it.StreamSeq, streams[region])
		}
		return true, nil
	}); err != nil {
		t.Fatal(err)
	}
	if next != j.Head()+1 {
		t.Fatalf("read up to %d, head is %d", next-1, j.Head())
	}
}

// TestPowerLoss clones the file system at a random moment, as a power loss
// would leave it, and expects every acknowledged group, with its writes, and
// no group in part.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	for seed := range 8 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewCrashableMem()
			s, j := open(t, fs)
			var mu sync.Mutex
			acked := map[string]bool{}
			var wg sync.WaitGroup
			for c := range 8 {
				wg.Go(func() {
					for i := range 40 {
						id := fmt.Sprintf("%d-%d", c, i)
						b := s.NewBatch()
						b.Set(kv.Key(kv.SpaceState, "test", id), []byte(id))
						if err := j.Append(Group{Writes: b, Entries: []Entry{entry(t, id, "us-east-1")}}); err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						acked[id] = true
						mu.Unlock()
					}
				})
			}
			if _, err := j.Wait(t.Context(), uint64(20+seed*30)); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			var before []string
			for id := range acked {
				before = append(before, id)
			}
			clone := fs.CrashClone(vfs.CrashCloneCfg{})
			mu.Unlock()
			wg.Wait()
			closeAll(t, s, j)

			s2, j2 := open(t, clone)
			defer closeAll(t, s2, j2)
			found := map[string]bool{}
			if err := j2.Read(0, j2.Head(), func(it Item) (bool, error) {
				id := it.Field(record.FieldEventID)
				if found[id] {
					return false, fmt.Errorf("record %s is there twice", id)
				}
				found[id] = true
				_, err := s2.Get(kv.Key(kv.SpaceState, "test", id))
				return true, err
			}); err != nil {
				t.Fatal(err)
			}
			for _, id := range before {
				if !found[id] {
					t.Errorf("acknowledged record %s is lost", id)
				}
			}
			n := 0
			if err := s2.Scan(kv.Key(kv.SpaceState, "test"), func(_, v []byte) (bool, error) {
				n++
				if !found[string(v)] {
					return false, fmt.Errorf("write %s has no record", v)
				}
				return true, nil
			}); err != nil {
				t.Fatal(err)
			}
			if n != len(found) {
				t.Errorf("%d writes for %d records", n, len(found))
			}
		})
	}
}

// TestIntents: an intent without its record becomes one on the next start; a
// resolved one does not.
func TestIntents(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	s, j := open(t, fs)
	lost, err := j.Intend([]Entry{entry(t, "lost", "us-east-1")})
	if err != nil || lost == nil {
		t.Fatal(err)
	}
	kept, err := j.Intend([]Entry{entry(t, "unknown outcome", "us-east-1")})
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append(Group{Entries: []Entry{entry(t, "known outcome", "us-east-1")}, Done: kept}); err != nil {
		t.Fatal(err)
	}
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	closeAll(t, s, j)
	for range 2 { // the second start must not record it again
		s, j = open(t, clone)
		var ids []string
		if err := j.Read(0, j.Head(), func(it Item) (bool, error) {
			ids = append(ids, it.Field(record.FieldEventID))
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(ids) != "[known outcome lost]" {
			t.Fatalf("records %q, want the known outcome and the lost call", ids)
		}
		closeAll(t, s, j)
	}
}

// TestTrim removes what every reader has passed, and nothing else; numbers go
// on after the journal was emptied.
func TestTrim(t *testing.T) {
	t.Parallel()
	fs := vfs.NewMem()
	s, j := open(t, fs)
	for i := range 10 {
		if err := j.Append(Group{Entries: []Entry{entry(t, fmt.Sprint(i), "us-east-1")}}); err != nil {
			t.Fatal(err)
		}
	}
	b := s.NewBatch()
	SetCursor(b, "reader", 4)
	if err := j.Commit(b); err != nil {
		t.Fatal(err)
	}
	if got, err := j.Trim(8); err != nil || got != 4 {
		t.Fatalf("trimmed to %d (%v), want the reader's 4", got, err)
	}
	if _, err := j.Get(4); !errors.Is(err, kv.ErrNotFound) {
		t.Fatalf("record 4 is still there: %v", err)
	}
	if it, err := j.Get(5); err != nil || it.Seq != 5 {
		t.Fatalf("record 5: %v", err)
	}
	b = s.NewBatch()
	SetCursor(b, "reader", 10)
	if err := j.Commit(b); err != nil {
		t.Fatal(err)
	}
	if got, err := j.Trim(100); err != nil || got != 10 {
		t.Fatalf("trimmed to %d (%v), want 10", got, err)
	}
	closeAll(t, s, j)
	s, j = open(t, fs)
	defer closeAll(t, s, j)
	if err := j.Append(Group{Entries: []Entry{entry(t, "next", "us-east-1")}}); err != nil {
		t.Fatal(err)
	}
	it, err := j.Get(11)
	if err != nil || it.StreamSeq != 11 {
		t.Fatalf("the record after an emptied journal has numbers %d and %d (%v), want 11", it.Seq, it.StreamSeq, err)
	}
}

// TestGaps: whatever is missing from the journal is noticed by who reads over
// it, at the begin, in the middle and at the end, and what was trimmed is not
// missing.
func TestGaps(t *testing.T) {
	t.Parallel()
	const records = 10
	for _, tt := range []struct {
		name        string
		trim        uint64
		first, last uint64 // deleted behind the journal's back
		after       uint64
		want        GapError // zero: none
	}{
		{name: "whole"},
		{name: "begin", first: 1, last: 3, want: GapError{1, 3}},
		{name: "begin of what is read", first: 5, last: 6, after: 4, want: GapError{5, 6}},
		{name: "before what is read", first: 1, last: 4, after: 4},
		{name: "reading from inside the gap", first: 3, last: 6, after: 4, want: GapError{5, 6}},
		{name: "middle", first: 4, last: 4, want: GapError{4, 4}},
		{name: "end", first: 9, last: records, want: GapError{9, records}},
		{name: "all", first: 1, last: records, want: GapError{1, records}},
		{name: "trimmed", trim: 4},
		{name: "all trimmed", trim: records},
		{name: "behind the trimmed", trim: 4, first: 5, last: 5, want: GapError{5, 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fs := vfs.NewMem()
			s, j := open(t, fs)
			for i := range records {
				if err := j.Append(Group{Entries: []Entry{entry(t, fmt.Sprint(i), "us-east-1")}}); err != nil {
					t.Fatal(err)
				}
			}
			if tt.trim > 0 {
				if got, err := j.Trim(tt.trim); err != nil || got != tt.trim {
					t.Fatalf("trimmed to %d (%v)", got, err)
				}
			}
			j.recent.drop(records) // as if they were read long after
			if tt.first > 0 {
				b := s.NewBatch()
				b.DeleteRange(appendKey(nil, tt.first), appendKey(nil, tt.last+1))
				if err := s.Apply(b); err != nil {
					t.Fatal(err)
				}
			}
			defer closeAll(t, s, j)
			var seen []uint64
			err := j.Read(tt.after, j.Head(), func(it Item) (bool, error) {
				seen = append(seen, it.Seq)
				return true, nil
			})
			var lost *GapError
			if tt.want == (GapError{}) {
				if from := max(tt.after, tt.trim); err != nil || uint64(len(seen)) != records-from {
					t.Errorf("read %v (%v)", seen, err)
				}
			} else if !errors.As(err, &lost) || *lost != tt.want {
				t.Errorf("%v, want %v", err, &tt.want)
			}
		})
	}
}

func TestWaitAndClose(t *testing.T) {
	t.Parallel()
	s, j := open(t, vfs.NewMem())
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error, 1)
	go func() { _, err := j.Wait(ctx, 0); got <- err }()
	cancel()
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Fatalf("Wait returned %v after its context ended", err)
	}
	go func() { _, err := j.Wait(t.Context(), 0); got <- err }()
	if err := j.Append(Group{Entries: []Entry{entry(t, "a", "us-east-1")}}); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	closeAll(t, s, j)
	if err := j.Append(Group{}); !errors.Is(err, ErrClosed) {
		t.Fatalf("Append after Close: %v", err)
	}
}

// BenchmarkAppend is the promise's price: a 200-byte write and its record, one
// sync a group.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			s, err := kv.Open(b.TempDir(), kv.Options{})
			if err != nil {
				b.Fatal(err)
			}
			j, err := Open(s, quiet)
			if err != nil {
				b.Fatal(err)
			}
			defer closeAll(b, s, j)
			e := entry(b, "00000000-0000-0000-0000-000000000000", "us-east-1")
			value := make([]byte, 200)
			b.ReportAllocs()
			var wg sync.WaitGroup
			b.ResetTimer()
			for c := range callers {
				wg.Go(func() {
					key := kv.AppendUint64([]byte{byte(kv.SpaceCQL)}, uint64(c)<<32)
					for i := c; i < b.N; i += callers {
						w := s.NewBatch()
						key[8]++
						w.Set(key, value)
						if err := j.Append(Group{Writes: w, Entries: []Entry{e}}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
		})
	}
}
