package trail

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/journal"
	"spoor/internal/record"
)

// aggregated journals an aggregated event for a trail and returns its id.
func (r *rig) aggregated(arn string) string {
	r.t.Helper()
	r.ids++
	a := record.AggregateRecord{AccountID: account, EventID: fmt.Sprintf("aggregated-%d", r.ids), Region: home, Source: "s3.amazonaws.com", Start: r.now, End: r.now.Add(5 * time.Minute)}
	a.Summary.Primary = record.AggregateDimension{Dimension: "eventName", Statistics: []record.AggregateCount{{Name: "GetObject", Value: 1}}}
	data, err := a.Entry(arn)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.jr.Append(journal.Group{Entries: []journal.Entry{{Account: account, Region: home, Data: data}}}); err != nil {
		r.t.Fatal(err)
	}
	return a.EventID
}

// TestAggregatedFiles: a trail's aggregated events, and no other's, go into
// files of their own, once over a crash. They reach no selector: neither one for
// management events nor one for all data events takes another trail's.
func TestAggregatedFiles(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	r := newRig(t, fs, newMemory())
	defer func() { r.close() }()
	arn := ARN(account, home, "audit")
	r.put("CreateTrail", func(s *State) { s.Settings.Templates = []string{"API_ACTIVITY"} })
	r.start()
	r.event(home)
	want := []string{r.aggregated(arn), r.aggregated(arn)}
	r.aggregated(arn + "2")
	r.event(home)
	r.step(0)
	r.fs = fs.CrashClone(vfs.CrashCloneCfg{})
	r.close()
	r.open()
	r.newFollower()
	want = append(want, r.aggregated(arn))
	r.step(0)
	r.step(time.Hour)
	r.put("PutEventConfiguration", func(s *State) { s.Settings.Templates = nil })
	r.aggregated(arn) // of a trail that does not aggregate any more
	r.step(time.Hour)
	r.stop()
	r.step(time.Second)
	got := map[string]bool{}
	for key, body := range r.bucket.objects {
		if !strings.Contains(key, "/CloudTrail-Aggregated/"+home+"/2026/") {
			if strings.Contains(string(gunzip(t, body.body)), "AwsAggregatedEvent") {
				t.Errorf("%s holds an aggregated event", key)
			}
			continue
		}
		text := string(gunzip(t, body.body))
		for _, part := range strings.Split(text, `"eventId":"`)[1:] {
			id, _, _ := strings.Cut(part, `"`)
			if got[id] {
				t.Errorf("%s is there twice", id)
			}
			got[id] = true
		}
		if strings.Contains(text, "AwsApiCall") {
			t.Errorf("%s holds another record", key)
		}
	}
	for _, id := range want {
		if !got[id] {
			t.Errorf("%s was not delivered", id)
		}
	}
	if len(got) != len(want) {
		t.Errorf("delivered %v, want %v", got, want)
	}
}
