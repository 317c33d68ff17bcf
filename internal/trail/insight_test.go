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

// insight journals an Insights record and returns its id.
func (r *rig) insight(typ, category, source string) string {
	r.t.Helper()
	r.ids++
	i := record.InsightRecord{Region: home, AccountID: account, EventID: fmt.Sprintf("insight-%d", r.ids), SharedEventID: "shared", Source: source,
		Details: record.InsightDetails{State: "Start", EventSource: "athena.amazonaws.com", EventName: "CreateWorkGroup", InsightType: typ}}
	if category != record.OnManagement {
		i.Details.SourceCategory = category
	}
	data, err := i.Entry(r.now)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.jr.Append(journal.Group{Entries: []journal.Entry{{Account: account, Region: home, Data: data}}}); err != nil {
		r.t.Fatal(err)
	}
	return i.EventID
}

// TestInsightFiles: Insights events of the trail's selectors go into files of
// their own, which the digests list in the order of the records' numbers; a
// crash in between delivers each once.
func TestInsightFiles(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	r := newRig(t, fs, newMemory())
	defer func() { r.close() }()
	arn := ARN(account, home, "audit")
	r.put("CreateTrail", func(s *State) {
		s.Settings.Insights = []Insight{{"ApiCallRateInsight", []string{"Management"}}, {"ApiErrorRateInsight", []string{"Data"}}}
	})
	log := []string{r.start(), r.event(home)}
	insights := []string{r.insight("ApiCallRateInsight", "Management", ""), r.insight("ApiErrorRateInsight", "Data", arn)}
	log = append(log, r.event(home))
	r.step(0)
	// Power is lost while a file of each kind is planned or collecting.
	r.fs = fs.CrashClone(vfs.CrashCloneCfg{})
	r.close()
	r.open()
	r.newFollower()
	insights = append(insights, r.insight("ApiCallRateInsight", "Management", ""))
	for _, not := range [][3]string{{"ApiErrorRateInsight", "Management", ""}, {"ApiErrorRateInsight", "Data", arn + "2"}, {"ApiCallRateInsight", "Data", arn}} {
		r.insight(not[0], not[1], not[2])
	}
	log = append(log, r.event(home))
	r.step(0)
	r.step(time.Hour)
	log = append(log, r.stop())
	r.step(time.Second)
	d := r.delivered()
	for key, ids := range d.files {
		kind := "/CloudTrail/" + home + "/2026/"
		if strings.HasPrefix(ids[0], "insight") {
			kind = "/CloudTrail-Insight/" + home + "/2026/"
		}
		if !strings.Contains(key, kind) {
			t.Errorf("%s has %v", key, ids)
		}
		for _, id := range ids {
			if strings.HasPrefix(id, "insight") != strings.HasPrefix(ids[0], "insight") {
				t.Errorf("%s mixes %v", key, ids)
			}
		}
	}
	if len(d.ids) != len(log)+len(insights) {
		t.Errorf("delivered %v, want %v and %v", d.ids, log, insights)
	}
	for _, id := range append(log, insights...) {
		if d.ids[id] != 1 {
			t.Errorf("%s is there %d times", id, d.ids[id])
		}
	}
	if n := r.checkChain(home); n != len(d.files) || n < 5 {
		t.Errorf("%d files listed, %d delivered", n, len(d.files))
	}
}
