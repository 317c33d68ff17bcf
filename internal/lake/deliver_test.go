package lake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/kv"
	"spoor/internal/trail"
)

// shelf is a bucket that refuses the first puts.
type shelf struct {
	mu     sync.Mutex
	refuse int
	bodies map[string][]byte
	put    chan string
}

func (s *shelf) Put(_ context.Context, bucket, key string, body []byte, _ trail.PutOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse > 0 {
		s.refuse--
		return errors.New("the bucket is away")
	}
	s.bodies[bucket+"/"+key] = slices.Clone(body)
	s.put <- key
	return nil
}

func (s *shelf) Policy(context.Context, string) (string, string, error) {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"s3:*","Resource":["arn:aws:s3:::results","arn:aws:s3:::results/*"]}]}`,
		"123456789012", nil
}

func sign(_ string, at time.Time, text string) ([]byte, string, error) {
	return []byte(at.String() + text), "print", nil
}

// TestDeliveryAfterCrash: a result whose delivery a crash cut short is delivered
// by the next start, byte for byte as it would have been.
func TestDeliveryAfterCrash(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	w := open(t, fs)
	first := &shelf{bodies: map[string][]byte{}, put: make(chan string, 4)}
	w.m.cfg.Bucket, w.m.cfg.Sign = first, sign
	q := &Query{Version: formatVersion, ID: "123e4567-e89b-12d3-a456-426614174001", Account: "123456789012", Region: "us-east-1", Owner: "123456789012",
		Stores: []string{ARN("123456789012", "us-east-1", storeID)}, Status: QueryFinished, Created: w.now, Ended: w.now.Add(time.Second), Rows: 2, Columns: []string{"a", "b"},
		Delivery: &Delivery{URI: "s3://results/p", Bucket: "results", Prefix: "p", Status: DeliveryPending}}
	b := w.store.NewBatch()
	b.Set(queryKey(q.Account, q.Region, q.ID), kv.MustJSON(q))
	for i, row := range []string{`[{"a":"1"},{"b":"x, \"y\""}]`, `[{"a":""},{"b":"2"}]`} {
		if !json.Valid([]byte(row)) {
			t.Fatal(row)
		}
		b.Set(resultKey(q.ID, uint32(i)), []byte(row))
	}
	if err := w.jr.Commit(b); err != nil {
		t.Fatal(err)
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	// The first server delivers and would then have written so.
	if err := w.m.deliver(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	if got, err := w.m.Query(q.Account, q.Region, q.ID); err != nil || got.Delivery.Status != DeliverySuccess {
		t.Errorf("%+v, %v", got, err)
	}
	w.close()

	w = open(t, crashed)
	defer w.close()
	second := &shelf{bodies: map[string][]byte{}, put: make(chan string, 4), refuse: 1}
	w.m.cfg.Bucket, w.m.cfg.Sign = second, sign
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.m.RunQueries(ctx) }()
	<-second.put
	<-second.put
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got, err := w.m.Query(q.Account, q.Region, q.ID); err != nil || got.Delivery.Status != DeliverySuccess {
		t.Errorf("%+v, %v", got, err)
	}
	if d := cmp.Diff(slices.Sorted(maps.Keys(first.bodies)), slices.Sorted(maps.Keys(second.bodies))); d != "" || len(first.bodies) != 2 {
		t.Fatal(d)
	}
	for k, body := range first.bodies {
		if !bytes.Equal(body, second.bodies[k]) {
			t.Errorf("%s differs", k)
		}
	}
}

func TestBindParameters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		statement string
		params    []string
		want      string
		bound     []string
	}{
		{"SELECT '?' FROM t", nil, "SELECT '?' FROM t", nil},
		{"a > '?' AND b = ?", []string{"2026-01-01", "7"}, "a > ? AND b = ?", []string{"'2026-01-01'", "7"}},
		{"b = ? AND a > '?' -- '?'", []string{"7", "it's"}, "b = ? AND a > ? -- '?'", []string{"7", "'it''s'"}},
		{"a = 'why?' AND \"c?\" = '?' /* ? */", []string{"x"}, "a = 'why?' AND \"c?\" = ? /* ? */", []string{"'x'"}},
		{"a = '?'", []string{"x", "y"}, "a = ?", []string{"'x'", "y"}},
	} {
		got, bound := bindParameters(tt.statement, tt.params)
		if got != tt.want || !slices.Equal(bound, tt.bound) {
			t.Errorf("%s %v: %s %v, want %s %v", tt.statement, tt.params, got, bound, tt.want, tt.bound)
		}
	}
}

func FuzzBindParameters(f *testing.F) {
	f.Add("a > '?' AND b = ?", "x", "y")
	f.Add("'?'?'?", "'", "''")
	f.Fuzz(func(t *testing.T, statement, a, b string) {
		got, bound := bindParameters(statement, []string{a, b})
		if len(bound) != 2 || len(got) > len(statement) {
			t.Fatalf("%q became %q with %q", statement, got, bound)
		}
		for i, in := range []string{a, b} {
			if bound[i] != in && (len(bound[i]) < 2 || bound[i][0] != '\'' || bound[i][len(bound[i])-1] != '\'') {
				t.Fatalf("%q became %q", in, bound[i])
			}
		}
	})
}
