package cloudtrail

import (
	"slices"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/lake"
	"spoor/internal/record"
	"spoor/internal/trail"
)

const (
	rateInsight = string(types.InsightTypeApiCallRateInsight)
)

func (s *api) insightOperations() []call.Operation {
	return []call.Operation{
		call.Op("PutInsightSelectors", func(c *call.Call, in *sdk.PutInsightSelectorsInput) ([]call.Permission, error) {
			out := s.onTrailOrStore(c, "PutInsightSelectors", in.TrailName, in.EventDataStore)
			return s.foreignStore(out, c, "PutInsightSelectors", str(in.InsightsDestination)), nil
		}, handle(s.putInsightSelectors)),
		call.Op("GetInsightSelectors", func(c *call.Call, in *sdk.GetInsightSelectorsInput) ([]call.Permission, error) {
			return s.onTrailOrStore(c, "GetInsightSelectors", in.TrailName, in.EventDataStore), nil
		}, handle(s.getInsightSelectors), call.ReadOnly),
		call.Op("ListInsightsData", func(_ *call.Call, in *sdk.ListInsightsDataInput) ([]call.Permission, error) {
			return []call.Permission{{Action: "cloudtrail:ListInsightsData", Resource: str(in.InsightSource)}}, nil
		}, s.listInsightsData, call.ReadOnly),
		call.Op("ListInsightsMetricData", insightsMetricPermissions, s.listInsightsMetricData, call.ReadOnly),
	}
}

// onTrailOrStore is the permission of an operation on either; one that names
// neither or both is refused by its handler.
func (s *api) onTrailOrStore(c *call.Call, op string, name, store *string) []call.Permission {
	if str(store) != "" {
		return []call.Permission{s.storePermission(c, op, *store)}
	}
	return []call.Permission{{Action: "cloudtrail:" + op, Resource: named(c, name)}}
}

// trailOrStore finds the trail or the event data store of an operation that
// takes one of the two.
func (s *api) trailOrStore(c *call.Call, name, store *string, find func(*call.Call, string) (*trail.State, error)) (*trail.State, *lake.Store, error) {
	switch {
	case str(name) != "" && str(store) != "":
		return nil, nil, invalid("InvalidParameterCombinationException", "Specify either a trail or an event data store, but not both.")
	case str(store) != "":
		st, err := s.activeStore(c, *store)
		return nil, st, err
	case str(name) == "":
		return nil, nil, invalid("InvalidParameterException", "Specify a trail or an event data store.")
	}
	t, err := find(c, *name)
	return t, nil, err
}

// lockFor takes the lock of what an operation will change.
func (s *api) lockFor(c *call.Call, store *string) {
	if str(store) != "" {
		s.lake.Lock(c)
		return
	}
	s.trails.Lock(c)
}

func (s *api) putInsightSelectors(c *call.Call, in *sdk.PutInsightSelectorsInput) (*sdk.PutInsightSelectorsOutput, error) {
	list, err := insightSelectors(in.InsightSelectors)
	if err != nil {
		return nil, err
	}
	s.lockFor(c, in.EventDataStore)
	t, st, err := s.trailOrStore(c, in.TrailName, in.EventDataStore, s.findHome)
	if err != nil {
		return nil, err
	}
	out := &sdk.PutInsightSelectorsOutput{InsightSelectors: sdkInsights(list)}
	if t != nil {
		if str(in.InsightsDestination) != "" {
			return nil, invalid("InvalidParameterCombinationException", "InsightsDestination can be given with an event data store only.")
		}
		if err := checkInsights(list, t.Settings.Selectors); err != nil {
			return nil, err
		}
		next := *t
		next.Settings.Insights = make([]trail.Insight, len(list))
		for i, x := range list {
			next.Settings.Insights[i] = trail.Insight(x)
		}
		out.TrailARN = new(t.ARN())
		return out, s.trails.Put(c, &next)
	}
	next := *st
	next.Insights, next.InsightsTo = list, str(in.InsightsDestination)
	if len(list) == 0 {
		next.InsightsTo = ""
	} else if err := s.checkInsightsDestination(c, st, next.InsightsTo); err != nil {
		return nil, err
	}
	for _, i := range list {
		if slices.Contains(i.Categories, record.OnData) {
			return nil, badInsight("Insights on data events are not supported on event data stores. Enable Insights on Management events only.")
		}
	}
	if err := checkInsights(list, st.Settings.Selectors); err != nil {
		return nil, err
	}
	out.EventDataStoreArn, out.InsightsDestination = new(st.ARN()), optional(next.InsightsTo)
	return out, s.lake.Put(c, &next)
}

// checkInsightsDestination: insights of a store go into another one, which
// logs insights.
func (s *api) checkInsightsDestination(c *call.Call, st *lake.Store, arn string) error {
	if arn == "" {
		return invalid("InvalidParameterException", "InsightsDestination is required to enable Insights on an event data store.")
	}
	to, err := s.activeStore(c, arn)
	if err != nil {
		return err
	}
	if to.ID == st.ID || class(to) != insightCategory {
		return badInsight("The destination event data store must log Insights events.")
	}
	return nil
}

func badInsight(format string, args ...any) error {
	return invalid("InvalidInsightSelectorsException", format, args...)
}

func insightSelectors(in []types.InsightSelector) ([]lake.Insight, error) {
	var out []lake.Insight
	for _, x := range in {
		i := lake.Insight{Type: string(x.InsightType)}
		if i.Type == "" {
			return nil, badInsight("InsightType is required. Valid values: ApiCallRateInsight, ApiErrorRateInsight.")
		}
		for _, o := range out {
			if o.Type == i.Type {
				return nil, badInsight("The insight type %s is given twice.", i.Type)
			}
		}
		for _, k := range x.EventCategories {
			if slices.Contains(i.Categories, string(k)) {
				return nil, badInsight("The event category %s is given twice.", k)
			}
			i.Categories = append(i.Categories, string(k))
		}
		if len(i.Categories) == 0 {
			i.Categories = []string{"Management"}
		}
		out = append(out, i)
	}
	return out, nil
}

// checkInsights: what an insight is made of must be logged (API reference,
// "PutInsightSelectors").
func checkInsights(list []lake.Insight, sel trail.Selectors) error {
	reads, writes, data := logs(sel)
	for _, i := range list {
		for _, k := range i.Categories {
			switch {
			case k == "Data" && !data:
				return badInsight("The insight type %s on data events needs data events to be logged.", i.Type)
			case k == "Management" && i.Type == rateInsight && !writes:
				return badInsight("The insight type ApiCallRateInsight needs write management events to be logged.")
			case k == "Management" && !reads && !writes:
				return badInsight("The insight type %s needs management events to be logged.", i.Type)
			}
		}
	}
	return nil
}

// logs says which kinds of events selectors take.
func logs(sel trail.Selectors) (reads, writes, data bool) {
	if len(sel.Basic)+len(sel.Advanced) == 0 {
		return true, true, false
	}
	for _, b := range sel.Basic {
		reads = reads || b.IncludeManagement && b.ReadWrite != trail.WriteOnly
		writes = writes || b.IncludeManagement && b.ReadWrite != trail.ReadOnly
		data = data || len(b.DataResources) > 0
	}
	for _, a := range sel.Advanced {
		category, readOnly := "", ""
		for _, f := range a.Fields {
			if len(f.Equals) == 1 {
				switch f.Field {
				case trail.FieldCategory:
					category = f.Equals[0]
				case trail.FieldReadOnly:
					readOnly = f.Equals[0]
				}
			}
		}
		reads = reads || category == "Management" && readOnly != "false"
		writes = writes || category == "Management" && readOnly != "true"
		data = data || category == "Data"
	}
	return reads, writes, data
}

func sdkInsights(list []lake.Insight) []types.InsightSelector {
	out := make([]types.InsightSelector, 0, len(list))
	for _, i := range list {
		x := types.InsightSelector{InsightType: types.InsightType(i.Type)}
		for _, k := range i.Categories {
			x.EventCategories = append(x.EventCategories, types.SourceEventCategory(k))
		}
		out = append(out, x)
	}
	return out
}

func (s *api) getInsightSelectors(c *call.Call, in *sdk.GetInsightSelectorsInput) (*sdk.GetInsightSelectorsOutput, error) {
	t, st, err := s.trailOrStore(c, in.TrailName, in.EventDataStore, s.findTrail)
	if err != nil {
		return nil, err
	}
	if t != nil {
		list := make([]lake.Insight, len(t.Settings.Insights))
		for i, x := range t.Settings.Insights {
			list[i] = lake.Insight(x)
		}
		if len(list) == 0 {
			return nil, notEnabled("Trail "+t.Name, "trail settings")
		}
		return &sdk.GetInsightSelectorsOutput{TrailARN: new(t.ARN()), InsightSelectors: sdkInsights(list)}, nil
	}
	if len(st.Insights) == 0 {
		return nil, notEnabled("Event data store "+st.ARN(), "event data store settings")
	}
	return &sdk.GetInsightSelectorsOutput{EventDataStoreArn: new(st.ARN()), InsightSelectors: sdkInsights(st.Insights), InsightsDestination: optional(st.InsightsTo)}, nil
}

func notEnabled(what, settings string) error {
	return &aws.Error{Op: "cloudtrail.GetInsightSelectors", Kind: aws.NotFound, Code: "InsightNotEnabledException",
		Message: what + " does not have Insights enabled. Edit the " + settings + " to enable Insights, and then try the operation again."}
}

func notOffered(op, message string) error {
	return &aws.Error{Op: "cloudtrail." + op, Kind: aws.Unsupported, Code: unsupported, Message: message}
}
