package insights

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"spoor/internal/call"
	"spoor/internal/lake"
	"spoor/internal/record"
	"spoor/internal/trail"
)

// dataStore puts an event data store of one event category.
func (r *rig) dataStore(id, category, to string, on ...lake.Insight) string {
	r.t.Helper()
	s := &lake.Store{Account: account, Region: region, ID: id, Name: id, Insights: on, InsightsTo: to, RetentionDays: 30,
		Settings: lake.Settings{Ingesting: true, Selectors: trail.Selectors{Advanced: []trail.AdvancedSelector{
			{Fields: []trail.FieldSelector{{Field: trail.FieldCategory, Equals: []string{category}}}}}}}}
	r.change(func(c *call.Call) error {
		r.lk.Lock(c)
		return r.lk.Put(c, s)
	})
	return s.ARN()
}

// TestStore: the insights of an event data store go into the one that takes
// them, once, in the form that stores have, and not into the journal.
func TestStore(t *testing.T) {
	t.Parallel()
	fs := vfs.NewCrashableMem()
	r := newRig(t, fs, small())
	defer func() { r.close() }()
	sink := r.dataStore("11111111-0000-4000-8000-000000000001", "Insight", "")
	source := r.dataStore("11111111-0000-4000-8000-000000000002", "Management", sink, lake.Insight{Type: CallRate, Categories: []string{record.OnManagement}})
	r.step(0)
	for range 40 {
		r.step(time.Minute)
	}
	r.calls(30, nil)
	r.step(time.Minute + time.Second)
	r.crash(0)
	for range 12 {
		r.step(time.Minute)
	}
	var got []lakeInsight
	err := r.lk.Events("11111111-0000-4000-8000-000000000001", time.Unix(begin*60, 0), r.now, func(js []byte) (bool, error) {
		var e lakeInsight
		err := json.Unmarshal(js, &e)
		got = append(got, e)
		return err == nil, err
	})
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v %v", got, err)
	}
	if got[0].State == "End" {
		got[0], got[1] = got[1], got[0]
	}
	for i, e := range got {
		if e.State != []string{"Start", "End"}[i] || e.Source != source || e.SharedID != got[0].SharedID || e.Category != "Insight" || e.Type != "AwsCloudTrailInsight" ||
			e.From != "athena.amazonaws.com" || e.Name != "CreateWorkGroup" || e.Insight != CallRate || e.Context.InsightAverage != 30 || e.Context.InsightDuration != 1 {
			t.Errorf("%+v", e)
		}
		if a := e.Context.Attributions[1]; a.Attribute != "userAgent" || a.InsightValue != "agent/1" || a.InsightAverage != 30 || len(a.Insight) != 1 || a.BaselineValue != "" {
			t.Errorf("%+v", a)
		}
	}
	if x := r.insights(); len(x) != 0 {
		t.Errorf("%d insights are in the journal, which no trail takes", len(x))
	}
}
