package cloudtrail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/journal"
	"spoor/internal/record"
)

// insight journals an Insights record and returns its id.
func (r *rig) insight(source, service, name string, at time.Time) string {
	r.t.Helper()
	x := record.InsightRecord{Region: region, AccountID: account, EventID: call.NewID(), SharedEventID: call.NewID(), Source: source,
		Details: record.InsightDetails{State: "Start", EventSource: service, EventName: name, InsightType: rateInsight}}
	if source != "" {
		x.Details.SourceCategory = record.OnData
	}
	data, err := x.Entry(at)
	if err == nil {
		err = r.jr.Append(journal.Group{Entries: []journal.Entry{{Account: account, Region: region, Data: data}}})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return x.EventID
}

// onTrailInsights turns Insights on for a trail.
func onTrailInsights(ctx context.Context, c *sdk.Client, list ...types.InsightSelector) error {
	_, err := c.PutInsightSelectors(ctx, &sdk.PutInsightSelectorsInput{TrailName: new("audit"), InsightSelectors: append([]types.InsightSelector{}, list...)})
	return err
}

// TestInsightEvents: LookupEvents finds the insights on management events,
// ListInsightsData those on a trail's data events, and neither finds more.
func TestInsightEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	for _, name := range []string{"audit", "other"} {
		if _, err := c.CreateTrail(ctx, create(name)); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now().UTC().Truncate(time.Minute)
	var ids []string
	for i := range 4 {
		ids = append(ids, r.insight("", []string{"iam.amazonaws.com", "glue.amazonaws.com"}[i%2], fmt.Sprint("Create", i/2), now.Add(time.Duration(i-4)*time.Hour)))
	}
	data := []string{r.insight(audit, "s3.amazonaws.com", "GetObject", now.Add(-2*time.Hour)), r.insight(audit, "s3.amazonaws.com", "PutObject", now.Add(-time.Hour))}
	slices.Reverse(ids)
	slices.Reverse(data)
	lookup := func(in *sdk.LookupEventsInput) (out []string) {
		t.Helper()
		in.EventCategory, in.MaxResults = types.EventCategoryInsight, new(int32(3))
		for p := sdk.NewLookupEventsPaginator(c, in); p.HasMorePages(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range page.Events {
				out = append(out, *e.EventId)
				var x record.InsightRecord
				if err := json.Unmarshal([]byte(*e.CloudTrailEvent), &x); err != nil || x.EventID != *e.EventId || x.Details.EventName != *e.EventName ||
					x.Details.EventSource != *e.EventSource || e.Username != nil || e.ReadOnly != nil || len(e.Resources) != 0 {
					t.Errorf("%+v (%v)", e, err)
				}
			}
		}
		return out
	}
	by := func(k types.LookupAttributeKey, v string) *sdk.LookupEventsInput {
		return &sdk.LookupEventsInput{LookupAttributes: []types.LookupAttribute{{AttributeKey: k, AttributeValue: &v}}}
	}
	for name, c := range map[string]struct {
		in   *sdk.LookupEventsInput
		want []string
	}{
		"all":    {&sdk.LookupEventsInput{}, ids},
		"id":     {by(types.LookupAttributeKeyEventId, ids[2]), ids[2:3]},
		"name":   {by(types.LookupAttributeKeyEventName, "Create1"), ids[:2]},
		"source": {by(types.LookupAttributeKeyEventSource, "iam.amazonaws.com"), []string{ids[1], ids[3]}},
		"data":   {by(types.LookupAttributeKeyEventName, "GetObject"), nil},
		"time":   {&sdk.LookupEventsInput{StartTime: new(now.Add(-3 * time.Hour)), EndTime: new(now.Add(-2 * time.Hour))}, ids[1:3]},
	} {
		if got := lookup(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	in := by(types.LookupAttributeKeyUsername, "root")
	in.EventCategory = types.EventCategoryInsight
	if _, err := c.LookupEvents(ctx, in); code(err) != "InvalidLookupAttributesException" {
		t.Errorf("by user: %v", err)
	}
	usual, err := c.LookupEvents(ctx, &sdk.LookupEventsInput{})
	if err != nil || slices.ContainsFunc(usual.Events, func(e types.Event) bool { return slices.Contains(ids, *e.EventId) }) {
		t.Errorf("an insight is among the events of calls (%v)", err)
	}

	list := func(in *sdk.ListInsightsDataInput) ([]string, error) {
		var out []string
		in.DataType, in.MaxResults = types.ListInsightsDataTypeInsightsEvents, new(int32(1))
		for p := sdk.NewListInsightsDataPaginator(c, in); p.HasMorePages(); {
			page, err := p.NextPage(ctx)
			if err != nil {
				return nil, err
			}
			for _, e := range page.Events {
				out = append(out, *e.EventId)
			}
		}
		return out, nil
	}
	other := "arn:aws:cloudtrail:us-east-1:123456789012:trail/other"
	for name, c := range map[string]struct {
		in   *sdk.ListInsightsDataInput
		want []string
		code string
	}{
		"all":           {&sdk.ListInsightsDataInput{InsightSource: new(audit)}, data, ""},
		"name":          {&sdk.ListInsightsDataInput{InsightSource: new(audit), Dimensions: map[string]string{"EventName": "PutObject"}}, data[:1], ""},
		"source":        {&sdk.ListInsightsDataInput{InsightSource: new(audit), Dimensions: map[string]string{"EventSource": "s3.amazonaws.com"}}, data, ""},
		"id":            {&sdk.ListInsightsDataInput{InsightSource: new(audit), Dimensions: map[string]string{"EventId": data[1]}}, data[1:], ""},
		"another trail": {&sdk.ListInsightsDataInput{InsightSource: &other}, nil, ""},
		"time":          {&sdk.ListInsightsDataInput{InsightSource: new(audit), EndTime: new(now.Add(-90 * time.Minute))}, data[1:], ""},
		"no trail":      {&sdk.ListInsightsDataInput{InsightSource: new(audit + "x")}, nil, "InvalidParameterException"},
		"dimension":     {&sdk.ListInsightsDataInput{InsightSource: new(audit), Dimensions: map[string]string{"Username": "x"}}, nil, "ValidationException"},
		"backwards":     {&sdk.ListInsightsDataInput{InsightSource: new(audit), StartTime: &now, EndTime: new(now.Add(-time.Hour))}, nil, "InvalidParameterException"},
		"token":         {&sdk.ListInsightsDataInput{InsightSource: new(audit), NextToken: new("abcd")}, nil, "InvalidParameterException"},
	} {
		got, err := list(c.in)
		if !slices.Equal(got, c.want) || code(err) != c.code {
			t.Errorf("%s: %v %v, want %v %s", name, got, err, c.want, c.code)
		}
	}
}

// calls journals calls of one operation at a time.
func (r *rig) calls(n int, at time.Time, name, failed string) {
	r.t.Helper()
	var g journal.Group
	for range n {
		x := record.Record{EventTime: at, EventSource: "athena.amazonaws.com", EventName: name, EventID: call.NewID(), Region: region, AccountID: account,
			ErrorCode: failed, Caller: &aws.Caller{Type: aws.Root, AccountID: account}}
		data, _ := x.AppendEntry(nil, nil)
		g.Entries = append(g.Entries, journal.Entry{Account: account, Region: region, Data: data})
	}
	if err := r.jr.Append(g); err != nil {
		r.t.Fatal(err)
	}
}

// TestInsightMetrics: rates are those of the calls, also of the last ones.
func TestInsightMetrics(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	if _, err := c.CreateTrail(ctx, create("audit")); err != nil {
		t.Fatal(err)
	}
	_, err := c.StartLogging(ctx, &sdk.StartLoggingInput{Name: new("audit")})
	err = errors.Join(err, onTrailInsights(ctx, c, types.InsightSelector{InsightType: types.InsightTypeApiCallRateInsight}, types.InsightSelector{InsightType: types.InsightTypeApiErrorRateInsight}))
	if err != nil {
		t.Fatal(err)
	}
	ask := func() *sdk.ListInsightsMetricDataInput {
		return &sdk.ListInsightsMetricDataInput{EventSource: new("athena.amazonaws.com"), EventName: new("CreateWorkGroup"), InsightType: types.InsightTypeApiCallRateInsight}
	}
	// The first answer waits until Insights are seen to be on: a call then counts.
	if out, err := c.ListInsightsMetricData(ctx, ask()); err != nil || len(out.Timestamps) != 0 || out.TrailARN != nil {
		t.Fatalf("%+v %v", out, err)
	}
	hour := time.Now().UTC().Truncate(time.Hour)
	before := hour.Add(-2 * time.Hour)
	r.calls(12, before.Add(6*time.Minute), "CreateWorkGroup", "")
	r.calls(3, before.Add(7*time.Minute), "CreateWorkGroup", "AccessDenied")
	for _, c2 := range []struct {
		name   string
		change func(in *sdk.ListInsightsMetricDataInput)
		values []float64
		first  time.Time
		code   string
	}{
		{"hours", nil, []float64{0.25}, before, ""},
		{"fives", func(in *sdk.ListInsightsMetricDataInput) { in.Period = new(int32(300)) }, []float64{3}, before.Add(5 * time.Minute), ""},
		{"minutes", func(in *sdk.ListInsightsMetricDataInput) { in.Period = new(int32(60)) }, []float64{12, 3}, before.Add(6 * time.Minute), ""},
		{"zeros", func(in *sdk.ListInsightsMetricDataInput) {
			in.Period, in.DataType, in.EndTime = new(int32(60)), types.InsightsMetricDataTypeFillWithZeros, new(before.Add(9*time.Minute))
		}, []float64{0, 0, 0, 0, 0, 0, 12, 3, 0}, before, ""},
		{"errors", func(in *sdk.ListInsightsMetricDataInput) {
			in.InsightType, in.ErrorCode, in.Period = types.InsightTypeApiErrorRateInsight, new("AccessDenied"), new(int32(60))
		}, []float64{3}, before.Add(7 * time.Minute), ""},
		{"of another region's trail", func(in *sdk.ListInsightsMetricDataInput) { in.TrailName = new("audit") }, nil, time.Time{}, ""},
		{"no trail", func(in *sdk.ListInsightsMetricDataInput) { in.TrailName = new("none") }, nil, time.Time{}, "InvalidParameterException"},
		{"trail's name", func(in *sdk.ListInsightsMetricDataInput) { in.TrailName = new("x") }, nil, time.Time{}, "InvalidTrailNameException"},
		{"period", func(in *sdk.ListInsightsMetricDataInput) { in.Period = new(int32(120)) }, nil, time.Time{}, "InvalidParameterException"},
		{"code", func(in *sdk.ListInsightsMetricDataInput) { in.ErrorCode = new("AccessDenied") }, nil, time.Time{}, "InvalidParameterException"},
		{"no code", func(in *sdk.ListInsightsMetricDataInput) {
			in.InsightType = types.InsightTypeApiErrorRateInsight
		}, nil, time.Time{}, "InvalidParameterException"},
		{"backwards", func(in *sdk.ListInsightsMetricDataInput) { in.EndTime = in.StartTime }, nil, time.Time{}, "InvalidParameterException"},
		{"token", func(in *sdk.ListInsightsMetricDataInput) { in.NextToken = new("abcd") }, nil, time.Time{}, "InvalidParameterException"},
	} {
		in := ask()
		in.StartTime, in.EndTime = &before, &hour
		if c2.change != nil {
			c2.change(in)
		}
		out, err := c.ListInsightsMetricData(ctx, in)
		if code(err) != c2.code {
			t.Errorf("%s: %v, want %q", c2.name, err, c2.code)
		}
		if err == nil && (!slices.Equal(out.Values, c2.values) || len(out.Timestamps) != len(out.Values) || len(out.Values) > 0 && !out.Timestamps[0].Equal(c2.first)) {
			t.Errorf("%s: %v at %v, want %v from %v", c2.name, out.Values, out.Timestamps, c2.values, c2.first)
		}
	}
	in := ask()
	in.StartTime, in.EndTime, in.Period, in.DataType = &before, new(before.Add(20*time.Minute)), new(int32(60)), types.InsightsMetricDataTypeFillWithZeros
	var values []float64
	p := sdk.NewListInsightsMetricDataPaginator(c, in, func(o *sdk.ListInsightsMetricDataPaginatorOptions) { o.Limit = 7 })
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Values) > 7 {
			t.Errorf("%d values on a page", len(page.Values))
		}
		values = append(values, page.Values...)
	}
	if len(values) != 20 || values[6] != 12 || values[7] != 3 {
		t.Errorf("in pages: %v", values)
	}
}

// TestInsightSelectorRules: what PutInsightSelectors takes and what not.
func TestInsightSelectorRules(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	if _, err := c.CreateTrail(ctx, create("audit")); err != nil {
		t.Fatal(err)
	}
	of := func(typ types.InsightType, k ...types.SourceEventCategory) types.InsightSelector {
		return types.InsightSelector{InsightType: typ, EventCategories: k}
	}
	rate, errs := types.InsightTypeApiCallRateInsight, types.InsightTypeApiErrorRateInsight
	if err := onTrailInsights(ctx, c, of(rate, types.SourceEventCategoryData)); code(err) != "InvalidInsightSelectorsException" {
		t.Errorf("on data events that are not logged: %v", err)
	}
	if _, err := c.PutEventSelectors(ctx, &sdk.PutEventSelectorsInput{TrailName: new("audit"), AdvancedEventSelectors: []types.AdvancedEventSelector{
		{FieldSelectors: []types.AdvancedFieldSelector{{Field: new("eventCategory"), Equals: []string{"Data"}}, {Field: new("resources.type"), Equals: []string{"AWS::S3::Object"}}}},
		{FieldSelectors: []types.AdvancedFieldSelector{{Field: new("eventCategory"), Equals: []string{"Management"}}, {Field: new("readOnly"), Equals: []string{"true"}}}},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := onTrailInsights(ctx, c, of(rate)); code(err) != "InvalidInsightSelectorsException" {
		t.Errorf("call rate without write events: %v", err)
	}
	if err := onTrailInsights(ctx, c, of(rate, types.SourceEventCategoryData), of(errs, types.SourceEventCategoryManagement, types.SourceEventCategoryData)); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetInsightSelectors(ctx, &sdk.GetInsightSelectorsInput{TrailName: new("audit")})
	if err != nil || len(got.InsightSelectors) != 2 || !slices.Equal(got.InsightSelectors[1].EventCategories, []types.SourceEventCategory{"Management", "Data"}) {
		t.Errorf("%+v %v", got, err)
	}
	if err := onTrailInsights(ctx, c); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetInsightSelectors(ctx, &sdk.GetInsightSelectorsInput{TrailName: new("audit")}); code(err) != "InsightNotEnabledException" {
		t.Errorf("after turning off: %v", err)
	}
	source := *r.newStore(c, "data", selects("eventCategory", "Management"), selects("eventCategory", "Data", "resources.type", "AWS::S3::Object")).EventDataStoreArn
	sink := *r.newStore(c, "sink", selects("eventCategory", "Insight")).EventDataStoreArn
	if _, err := c.PutInsightSelectors(ctx, &sdk.PutInsightSelectorsInput{EventDataStore: &source, InsightsDestination: &sink,
		InsightSelectors: []types.InsightSelector{of(rate, types.SourceEventCategoryData)}}); code(err) != "InvalidInsightSelectorsException" {
		t.Errorf("data events of a store: %v", err)
	}
}

// TestInsightQuery: a store of Insights events has the columns of their form.
func TestInsightQuery(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.client(region)
	arn := *r.newStore(c, "sink", selects("eventCategory", "Insight")).EventDataStoreArn
	id := arn[len(arn)-36:]
	b := r.store.NewBatch()
	at := time.Now().UTC().Add(-time.Minute)
	r.lake.PutInsight(b, arn, at, []byte("id-1"), []byte(`{"eventVersion":"1.08","eventCategory":"Insight","eventTime":"`+at.Format(time.RFC3339)+`","insightState":"Start",
		"insightEventName":"CreateUser","insightType":"ApiCallRateInsight","insightContext":{"baselineAverage":0.25,"insightAverage":12.5,"baselineDuration":40320,
		"insightDuration":1,"attributions":[{"attribute":"userIdentityArn","insightValue":"a","insight":[{"value":"a","average":12.5}],"baseline":[]}]}}`))
	r.lake.PutInsight(b, arn+"0", at, []byte("id-2"), []byte(`{}`)) // into no store
	if err := r.jr.Commit(b); err != nil {
		t.Fatal(err)
	}
	rows, last := r.query(c, "SELECT insightstate, insighteventname, insightcontext.insightaverage AS rate, insightcontext.attributions[1].insight[1].value AS who FROM "+id)
	if want := []string{"insightstate=Start insighteventname=CreateUser rate=12.5 who=a"}; !slices.Equal(rows, want) {
		t.Errorf("%v (%v), want %v", rows, last.ErrorMessage, want)
	}
}
