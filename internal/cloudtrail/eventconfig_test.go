package cloudtrail

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"spoor/internal/call"
)

// ContextKeys makes asked the authoriser of a call's context.
func (a *asked) ContextKeys(_ *call.Call, _ *call.Permission, keys []string) map[string]string {
	out := map[string]string{}
	for _, k := range keys {
		if k == "aws:PrincipalArn" {
			out[k] = "arn:aws:iam::123456789012:root"
		}
	}
	return out
}

func selector(typ types.Type, keys ...string) types.ContextKeySelector {
	return types.ContextKeySelector{Type: typ, Equals: keys}
}

var onEvents = []types.AdvancedEventSelector{selects("eventCategory", "Data", "resources.type", "AWS::S3::Object")}

// TestEventConfigurationErrors: what PutEventConfiguration refuses, with AWS's
// errors.
func TestEventConfigurationErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	if _, err := c.CreateTrail(ctx, create("audit")); err != nil {
		t.Fatal(err)
	}
	store := r.newStore(c, "main").EventDataStoreArn
	activity := r.newStore(c, "activity", selects("eventCategory", "ActivityAuditLog")).EventDataStoreArn
	data := []types.AggregationConfiguration{{EventCategory: types.EventCategoryAggregationData, Templates: []types.Template{types.TemplateApiActivity}}}
	keys := func(list ...types.ContextKeySelector) []types.ContextKeySelector { return list }
	long := make([]string, 51)
	for i := range long {
		long[i] = strings.Repeat("k", i+1)
	}
	for name, tc := range map[string]struct {
		in   sdk.PutEventConfigurationInput
		code string
	}{
		"nothing named":          {sdk.PutEventConfigurationInput{MaxEventSize: types.MaxEventSizeLarge}, "InvalidParameterException"},
		"both":                   {sdk.PutEventConfigurationInput{TrailName: new("audit"), EventDataStore: store}, "InvalidParameterCombinationException"},
		"no such trail":          {sdk.PutEventConfigurationInput{TrailName: new("absent"), AggregationConfigurations: data}, "TrailNotFoundException"},
		"a bad name":             {sdk.PutEventConfigurationInput{TrailName: new("a..b"), AggregationConfigurations: data}, "InvalidTrailNameException"},
		"no such store":          {sdk.PutEventConfigurationInput{EventDataStore: new("ce4a2e1c-7b6f-4f0e-9b8e-3f6a1f2b3c4d"), MaxEventSize: "Large"}, "EventDataStoreNotFoundException"},
		"a bad store":            {sdk.PutEventConfigurationInput{EventDataStore: new("nonsense"), MaxEventSize: "Large"}, "EventDataStoreARNInvalidException"},
		"a size of a trail":      {sdk.PutEventConfigurationInput{TrailName: new("audit"), MaxEventSize: "Large"}, "InvalidParameterCombinationException"},
		"keys of a trail":        {sdk.PutEventConfigurationInput{TrailName: new("audit"), ContextKeySelectors: keys(selector("TagContext", "team"))}, "InvalidParameterCombinationException"},
		"aggregation of a store": {sdk.PutEventConfigurationInput{EventDataStore: store, AggregationConfigurations: data}, "InvalidParameterCombinationException"},
		"no data events":         {sdk.PutEventConfigurationInput{TrailName: new("audit"), AggregationConfigurations: data}, "InvalidParameterCombinationException"},
		"standard with keys":     {sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Standard", ContextKeySelectors: keys(selector("TagContext", "team"))}, "InvalidParameterCombinationException"},
		"keys without a size":    {sdk.PutEventConfigurationInput{EventDataStore: store, ContextKeySelectors: keys(selector("TagContext", "team"))}, "InvalidParameterCombinationException"},
		"nothing to set":         {sdk.PutEventConfigurationInput{EventDataStore: store}, "InvalidParameterException"},
		"an address":             {sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Large", ContextKeySelectors: keys(selector("RequestContext", "aws:SourceIp"))}, "InvalidParameterException"},
		"not a global key":       {sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Large", ContextKeySelectors: keys(selector("RequestContext", "s3:prefix"))}, "InvalidParameterException"},
		"a key twice":            {sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Large", ContextKeySelectors: keys(selector("TagContext", "team", "team"))}, "InvalidParameterException"},
		"a type twice":           {sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Large", ContextKeySelectors: keys(selector("TagContext", "a"), selector("TagContext", "b"))}, "InvalidParameterException"},
		"of outside events":      {sdk.PutEventConfigurationInput{EventDataStore: activity, MaxEventSize: "Large"}, "InvalidEventDataStoreCategoryException"},
		"51 keys":                {sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Large", ContextKeySelectors: keys(selector("TagContext", long...))}, "ValidationException"},
		"an unknown size":        {sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Huge"}, "ValidationException"},
		"an unknown template":    {sdk.PutEventConfigurationInput{TrailName: new("audit"), AggregationConfigurations: []types.AggregationConfiguration{{EventCategory: "Data", Templates: []types.Template{"ALL"}}}}, "ValidationException"},
	} {
		if _, err := c.PutEventConfiguration(ctx, &tc.in); code(err) != tc.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.client("eu-west-1").PutEventConfiguration(ctx, &sdk.PutEventConfigurationInput{TrailName: new(audit)}); code(err) != "InvalidHomeRegionException" {
		t.Errorf("from elsewhere: %v", err)
	}
	if _, err := c.GetEventConfiguration(ctx, &sdk.GetEventConfigurationInput{EventDataStore: activity}); code(err) != "InvalidEventDataStoreCategoryException" {
		t.Errorf("%v", err)
	}
}

// TestEventConfiguration: what is put is what is got, and what is not named
// stays.
func TestEventConfiguration(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	if _, err := c.CreateTrail(ctx, create("audit")); err != nil {
		t.Fatal(err)
	}
	store := r.newStore(c, "main").EventDataStoreArn
	got := func(want sdk.GetEventConfigurationOutput) {
		t.Helper()
		in := &sdk.GetEventConfigurationInput{EventDataStore: store}
		if want.EventDataStoreArn == nil {
			in = &sdk.GetEventConfigurationInput{TrailName: new("audit")}
		}
		out, err := c.GetEventConfiguration(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&want, out, cmpopts.IgnoreFields(sdk.GetEventConfigurationOutput{}, "ResultMetadata"), cmpopts.IgnoreUnexported(sdk.GetEventConfigurationOutput{}, types.ContextKeySelector{}, types.AggregationConfiguration{})); d != "" {
			t.Error(d)
		}
	}
	put := func(in sdk.PutEventConfigurationInput) {
		t.Helper()
		if _, err := c.PutEventConfiguration(ctx, &in); err != nil {
			t.Fatal(err)
		}
	}
	none := []types.ContextKeySelector{}
	got(sdk.GetEventConfigurationOutput{EventDataStoreArn: store, MaxEventSize: "Standard", ContextKeySelectors: none})
	put(sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Large", ContextKeySelectors: []types.ContextKeySelector{
		selector("RequestContext", "aws:principalarn"), selector("TagContext", "team")}})
	if p := r.asked.perms; len(p) != 2 || p[1].Action != "iam:CreateServiceLinkedRole" || !strings.HasSuffix(p[1].Resource, "/AWSServiceRoleForCloudTrailEventContext") {
		t.Errorf("permissions %+v", p)
	}
	set := sdk.GetEventConfigurationOutput{EventDataStoreArn: store, MaxEventSize: "Large", ContextKeySelectors: []types.ContextKeySelector{
		selector("TagContext", "team"), selector("RequestContext", "aws:PrincipalArn")}}
	got(set)
	put(sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Large"})
	got(set)
	if _, err := c.PutEventConfiguration(ctx, &sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Standard"}); code(err) != "InvalidParameterCombinationException" {
		t.Errorf("%v", err)
	}
	put(sdk.PutEventConfigurationInput{EventDataStore: store, MaxEventSize: "Standard", ContextKeySelectors: none})
	got(sdk.GetEventConfigurationOutput{EventDataStoreArn: store, MaxEventSize: "Standard", ContextKeySelectors: none})

	got(sdk.GetEventConfigurationOutput{TrailARN: new(audit), AggregationConfigurations: []types.AggregationConfiguration{}})
	if _, err := c.PutEventSelectors(ctx, &sdk.PutEventSelectorsInput{TrailName: new("audit"), AdvancedEventSelectors: onEvents}); err != nil {
		t.Fatal(err)
	}
	templates := []types.AggregationConfiguration{{EventCategory: "Data", Templates: []types.Template{"API_ACTIVITY", "USER_ACTIONS"}}}
	put(sdk.PutEventConfigurationInput{TrailName: new("audit"), AggregationConfigurations: templates})
	got(sdk.GetEventConfigurationOutput{TrailARN: new(audit), AggregationConfigurations: templates})
	put(sdk.PutEventConfigurationInput{TrailName: new("audit"), AggregationConfigurations: []types.AggregationConfiguration{}})
	got(sdk.GetEventConfigurationOutput{TrailARN: new(audit), AggregationConfigurations: []types.AggregationConfiguration{}})
}

// TestLargeEvents: a store of large events has what a standard one leaves out,
// with the context of the call; the standard one and event history are as they
// would be without it.
func TestLargeEvents(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	standard := *r.newStore(c, "standard").EventDataStoreArn
	large := *r.newStore(c, "large").EventDataStoreArn
	if _, err := c.AddTags(ctx, &sdk.AddTagsInput{ResourceId: &large, TagsList: []types.Tag{{Key: new("team"), Value: new("red")}, {Key: new("other"), Value: new("x")}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.PutEventConfiguration(ctx, &sdk.PutEventConfigurationInput{EventDataStore: &large, MaxEventSize: "Large", ContextKeySelectors: []types.ContextKeySelector{
		selector("RequestContext", "aws:PrincipalArn", "aws:SourceVpc"), selector("TagContext", "team")}}); err != nil {
		t.Fatal(err)
	}
	var many []string
	for range 150 {
		many = append(many, "arn:aws:s3:::bucket/"+strings.Repeat("x", 1000))
	}
	long := selects("eventCategory", "Data", "resources.type", "AWS::S3::Object")
	long.FieldSelectors = append(long.FieldSelectors, types.AdvancedFieldSelector{Field: new("resources.ARN"), StartsWith: many})
	if _, err := c.UpdateEventDataStore(ctx, &sdk.UpdateEventDataStoreInput{EventDataStore: &large, AdvancedEventSelectors: []types.AdvancedEventSelector{
		selects("eventCategory", "Management"), long}}); err != nil {
		t.Fatal(err)
	}
	type event struct {
		RequestParameters, EventContext json.RawMessage
		EventVersion                    string
	}
	read := func(store string) (out event, raw string) {
		t.Helper()
		if err := r.lake.WaitFor(ctx, r.jr.Head()); err != nil {
			t.Fatal(err)
		}
		if err := r.lake.Events(store[strings.LastIndexByte(store, '/')+1:], time.Unix(0, 0), time.Now().AddDate(1, 0, 0), func(b []byte) (bool, error) {
			if strings.Contains(string(b), `"UpdateEventDataStore"`) {
				raw = string(b)
				return false, json.Unmarshal(b, &out)
			}
			return true, nil
		}); err != nil {
			t.Fatal(err)
		}
		return out, raw
	}
	e, _ := read(large)
	if n := len(e.RequestParameters); n < 150_000 {
		t.Errorf("the large event's request has %d bytes", n)
	}
	want := `{"requestContext":{"aws:PrincipalArn":"arn:aws:iam::123456789012:root"},"tagContext":{"resourceTags":[{"arn":"` + large + `","tags":{"team":"red"}}]}}`
	if string(e.EventContext) != want {
		t.Errorf("context %s", e.EventContext)
	}
	e, raw := read(standard)
	if string(e.RequestParameters) != `{"omitted":true}` || e.EventContext != nil {
		t.Errorf("the standard event has %.80s, %s", e.RequestParameters, e.EventContext)
	}
	h, err := c.LookupEvents(ctx, &sdk.LookupEventsInput{LookupAttributes: []types.LookupAttribute{{AttributeKey: types.LookupAttributeKeyEventName, AttributeValue: new("UpdateEventDataStore")}}})
	if err != nil || len(h.Events) != 1 || *h.Events[0].CloudTrailEvent != raw {
		t.Errorf("event history has another form: %v", err)
	}
	id := large[strings.LastIndexByte(large, '/')+1:]
	rows, _ := r.query(c, "SELECT eventcontext.requestcontext['aws:PrincipalArn'] AS p, eventcontext.tagcontext.resourcetags[1].tags['team'] AS t FROM "+id+" WHERE eventname = 'UpdateEventDataStore'")
	if d := cmp.Diff([]string{"p=arn:aws:iam::123456789012:root t=red"}, rows); d != "" {
		t.Error(d)
	}
}
