package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/aws"
	"spoor/internal/record"
)

// modelEvent is an event as a list of all of them knows it.
type modelEvent struct {
	id, name, user, resource, region string
	readOnly                         bool
	at                               time.Time
	n                                int // in the journal's order
}

func (e *modelEvent) is(q Query) bool {
	if e.region != q.Region || !q.Start.IsZero() && e.at.Before(q.Start.Truncate(time.Second)) ||
		!q.End.IsZero() && e.at.Truncate(time.Second).After(q.End) {
		return false
	}
	switch q.Attribute {
	case ByEventID:
		return e.id == q.Value
	case ByEventName:
		return e.name == q.Value
	case ByUsername:
		return e.user == q.Value
	case ByReadOnly:
		return strconv.FormatBool(e.readOnly) == q.Value
	case ByResourceName:
		return e.resource == q.Value
	}
	return true
}

// model answers as Lookup must.
func model(events []modelEvent, q Query) []string {
	var found []modelEvent
	for _, e := range events {
		if e.is(q) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b modelEvent) int {
		if c := b.at.Compare(a.at); c != 0 {
			return c
		}
		return b.n - a.n
	})
	ids := []string{}
	for _, e := range found {
		ids = append(ids, e.id)
	}
	return ids
}

// TestModel: whatever is in memory, being written or written, and whatever was
// lost from memory by a power loss, Lookup gives what a list of all events
// gives, and pages give all of it while events come in.
func TestModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			fs := vfs.NewCrashableMem()
			r := newRigWith(t, fs, 1+random.IntN(200))
			defer func() { r.close(t) }()
			var events []modelEvent
			now := start
			add := func() {
				now = now.Add(time.Duration(random.IntN(1500)) * time.Millisecond)
				if random.IntN(40) == 0 {
					now = now.Add(time.Duration(random.IntN(72)) * time.Hour)
				}
				r.advance(now.Sub(r.x.cfg.Now()))
				e := modelEvent{id: fmt.Sprint("id", len(events)), name: fmt.Sprint("Op", random.IntN(5)), user: fmt.Sprint("u", random.IntN(1+random.IntN(60))),
					region: []string{"us-east-1", "eu-west-1"}[random.IntN(2)], readOnly: random.IntN(3) > 0, resource: "arn:aws:sns:r:1:t" + fmt.Sprint(random.IntN(30)),
					at: now.Add(-time.Duration(random.IntN(3000)) * time.Millisecond).Truncate(time.Millisecond), n: len(events)}
				events = append(events, e)
				r.add(t, record.Record{EventID: e.id, EventName: e.name, ReadOnly: e.readOnly, Region: e.region, EventTime: e.at,
					Resources: []record.Resource{{Type: "AWS::SNS::Topic", ARN: e.resource}},
					Caller:    &aws.Caller{Type: aws.IAMUser, AccountID: account, PrincipalID: "AIDA", ARN: "arn:aws:iam::1:user/" + e.user, UserName: e.user, AccessKeyID: "AKIA"}})
			}
			for range 800 {
				switch random.IntN(60) {
				case 0:
					if err := r.x.flush(random.IntN(2) == 0); err != nil {
						t.Fatal(err)
					}
				case 1:
					clone := fs.CrashClone(vfs.CrashCloneCfg{})
					r.close(t)
					if fs = clone; random.IntN(2) == 0 {
						byDay(t, fs)
					}
					r = newRigWith(t, fs, 1+random.IntN(200))
					r.advance(now.Sub(start))
				case 2, 3, 4, 5:
					q := Query{Account: account, Region: []string{"us-east-1", "eu-west-1"}[random.IntN(2)], Max: 1 + random.IntN(MaxResults)}
					switch random.IntN(6) {
					case 0:
						q.Attribute, q.Value = ByEventID, fmt.Sprint("id", random.IntN(len(events)+2))
					case 1:
						q.Attribute, q.Value = ByEventName, fmt.Sprint("Op", random.IntN(6))
					case 2:
						q.Attribute, q.Value = ByUsername, fmt.Sprint("u", random.IntN(61))
					case 3:
						q.Attribute, q.Value = ByReadOnly, fmt.Sprint(random.IntN(2) > 0)
					case 4:
						q.Attribute, q.Value = ByResourceName, fmt.Sprint("arn:aws:sns:r:1:t", random.IntN(30))
					}
					if random.IntN(3) == 0 {
						q.End = start.Add(time.Duration(random.Int64N(int64(now.Sub(start)) + 1)))
					}
					if random.IntN(3) == 0 {
						q.Start = start.Add(time.Duration(random.Int64N(int64(now.Sub(start)) + 1)))
					}
					want, got := model(events, q), []string{}
					for known := len(events); ; {
						p, err := r.x.Lookup(t.Context(), q)
						if err != nil {
							t.Fatal(err)
						}
						for i := range p.Items {
							// Times of this test go back by seconds at times; what came in after
							// the first page may then be on a later one.
							if int(p.Items[i].Seq) <= known {
								got = append(got, p.Items[i].Field(record.FieldEventID))
							}
						}
						if p.Next == "" {
							break
						}
						if len(p.Items) != q.Max {
							t.Fatalf("a page of %d with a token, want %d", len(p.Items), q.Max)
						}
						q.Token = p.Next
						if random.IntN(3) == 0 {
							add()
						}
						if random.IntN(10) == 0 {
							if err := r.x.flush(random.IntN(2) == 0); err != nil {
								t.Fatal(err)
							}
						}
					}
					if d := cmp.Diff(want, got); d != "" {
						t.Fatalf("%+v after %d events: %s", q, len(events), d)
					}
				default:
					add()
				}
			}
		})
	}
}
