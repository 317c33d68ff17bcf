package cloudtrail

import (
	"maps"
	"slices"
	"strings"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/call"
	"spoor/internal/trail"
)

func (s *api) selectorOperations() []call.Operation {
	return []call.Operation{
		call.Op("PutEventSelectors", onTrail("PutEventSelectors", func(in *sdk.PutEventSelectorsInput) *string { return in.TrailName }), handle(s.putEventSelectors),
			resource(func(c *call.Call, in *sdk.PutEventSelectorsInput, _ *sdk.PutEventSelectorsOutput) string {
				return named(c, in.TrailName)
			})),
		call.Op("GetEventSelectors", onTrail("GetEventSelectors", func(in *sdk.GetEventSelectorsInput) *string { return in.TrailName }), handle(s.getEventSelectors), call.ReadOnly),
	}
}

func badSelector(format string, args ...any) error {
	return invalid("InvalidEventSelectorsException", format, args...)
}

func (s *api) putEventSelectors(c *call.Call, in *sdk.PutEventSelectorsInput) (*sdk.PutEventSelectorsOutput, error) {
	var sel trail.Selectors
	var err error
	switch {
	case len(in.EventSelectors) > 0 && len(in.AdvancedEventSelectors) > 0:
		return nil, badSelector("A trail can have event selectors or advanced event selectors, but not both.")
	case len(in.AdvancedEventSelectors) > 0:
		sel.Advanced, err = advancedSelectors(in.AdvancedEventSelectors, trailRules)
	case len(in.EventSelectors) > 0:
		sel.Basic, err = basicSelectors(in.EventSelectors)
	default:
		return nil, badSelector("At least one event selector or advanced event selector must be given.")
	}
	if err != nil {
		return nil, err
	}
	s.trails.Lock(c)
	old, err := s.findHome(c, str(in.TrailName))
	if err != nil {
		return nil, err
	}
	t := *old
	t.Settings.Selectors = sel
	if err := s.trails.Put(c, &t); err != nil {
		return nil, err
	}
	out := &sdk.PutEventSelectorsOutput{TrailARN: new(t.ARN())}
	out.EventSelectors, out.AdvancedEventSelectors = sdkSelectors(sel)
	return out, nil
}

func (s *api) getEventSelectors(c *call.Call, in *sdk.GetEventSelectorsInput) (*sdk.GetEventSelectorsOutput, error) {
	t, err := s.findTrail(c, str(in.TrailName))
	if err != nil {
		return nil, err
	}
	sel := t.Settings.Selectors
	if len(sel.Basic)+len(sel.Advanced) == 0 {
		// What holds for a trail without selectors of its own.
		sel.Basic = []trail.BasicSelector{{ReadWrite: trail.All, IncludeManagement: true}}
	}
	out := &sdk.GetEventSelectorsOutput{TrailARN: new(t.ARN())}
	out.EventSelectors, out.AdvancedEventSelectors = sdkSelectors(sel)
	return out, nil
}

// basicTypes are the data resource types of basic selectors with the start
// that their values must have.
var basicTypes = map[string]string{
	"AWS::S3::Object": "arn:aws:s3", "AWS::Lambda::Function": "arn:aws:lambda", "AWS::DynamoDB::Table": "arn:aws:dynamodb",
}

func basicSelectors(in []types.EventSelector) ([]trail.BasicSelector, error) {
	if len(in) > maxBasicSelectors {
		return nil, badSelector("A trail can have at most %d event selectors.", maxBasicSelectors)
	}
	var out []trail.BasicSelector
	values := 0
	for _, x := range in {
		b := trail.BasicSelector{ReadWrite: trail.ReadWrite(x.ReadWriteType), IncludeManagement: x.IncludeManagementEvents == nil || *x.IncludeManagementEvents,
			ExcludeSources: x.ExcludeManagementEventSources}
		if b.ReadWrite == "" {
			b.ReadWrite = trail.All
		}
		for _, source := range b.ExcludeSources {
			if source != "kms.amazonaws.com" && source != "rdsdata.amazonaws.com" {
				return nil, badSelector("ExcludeManagementEventSources can hold kms.amazonaws.com and rdsdata.amazonaws.com only, not %s.", source)
			}
		}
		if len(b.ExcludeSources) > 0 && !b.IncludeManagement {
			return nil, badSelector("ExcludeManagementEventSources needs IncludeManagementEvents to be true.")
		}
		for _, r := range x.DataResources {
			values += len(r.Values)
			if err := checkDataResource(r); err != nil {
				return nil, err
			}
			b.DataResources = append(b.DataResources, trail.DataResource{Type: str(r.Type), Values: r.Values})
		}
		if !b.IncludeManagement && len(b.DataResources) == 0 {
			return nil, badSelector("An event selector must include management events or data resources.")
		}
		out = append(out, b)
	}
	if values > maxDataValues {
		return nil, badSelector("A trail can have at most %d data resource values; %d are given.", maxDataValues, values)
	}
	return out, nil
}

func checkDataResource(r types.DataResource) error {
	start, ok := basicTypes[str(r.Type)]
	if !ok {
		return badSelector("The data resource type %s is not valid. Event selectors know AWS::S3::Object, AWS::Lambda::Function and AWS::DynamoDB::Table; use advanced event selectors for others.", str(r.Type))
	}
	if len(r.Values) == 0 {
		return badSelector("DataResources.Values must not be empty.")
	}
	for _, v := range r.Values {
		rest, ok := strings.CutPrefix(v, start)
		valid := ok && (rest == "" || rest[0] == ':')
		if valid && str(r.Type) == "AWS::S3::Object" && rest != "" {
			// arn:aws:s3::: is every bucket; a bucket's own ARN needs its slash.
			bucket, named := strings.CutPrefix(rest, ":::")
			valid = named && (bucket == "" || strings.Contains(bucket, "/"))
		}
		if !valid {
			return badSelector("Value %s for DataResources.Values is invalid.", v)
		}
	}
	return nil
}

// fieldRules are the fields of advanced selectors, by category (API reference,
// "AdvancedFieldSelector"). True marks Equals as the only operator.
type fieldRules map[string]map[string]bool

// trailRules are those of trails.
var trailRules = fieldRules{
	"Management": {trail.FieldCategory: true, trail.FieldSource: false, trail.FieldReadOnly: true},
	"Data": {trail.FieldCategory: true, trail.FieldResourceType: true, trail.FieldResourceARN: false, trail.FieldName: false, trail.FieldSource: false,
		trail.FieldType: false, trail.FieldReadOnly: true, trail.FieldConsoleSession: false, trail.FieldUserARN: false},
	"NetworkActivity": networkRules,
}

var networkRules = map[string]bool{trail.FieldCategory: true, trail.FieldSource: true, trail.FieldName: false, trail.FieldErrorCode: true, trail.FieldVPCEndpoint: false}

// storeRules are those of event data stores.
var storeRules = fieldRules{
	"Management": {trail.FieldCategory: true, trail.FieldSource: false, trail.FieldReadOnly: true, trail.FieldName: false, trail.FieldType: false,
		trail.FieldConsoleSession: false, trail.FieldUserARN: false},
	"Data":            trailRules["Data"],
	"NetworkActivity": networkRules,
	insightCategory:   {trail.FieldCategory: true}, "ConfigurationItem": {trail.FieldCategory: true},
	"Evidence": {trail.FieldCategory: true}, activityCategory: {trail.FieldCategory: true},
}

func advancedSelectors(in []types.AdvancedEventSelector, rules fieldRules) ([]trail.AdvancedSelector, error) {
	var out []trail.AdvancedSelector
	values := 0
	for _, x := range in {
		a := trail.AdvancedSelector{Name: str(x.Name)}
		seen := map[string]trail.FieldSelector{}
		for _, f := range x.FieldSelectors {
			fs := trail.FieldSelector{Field: str(f.Field), Equals: f.Equals, StartsWith: f.StartsWith, EndsWith: f.EndsWith,
				NotEquals: f.NotEquals, NotStartsWith: f.NotStartsWith, NotEndsWith: f.NotEndsWith}
			if _, twice := seen[fs.Field]; twice {
				return nil, badSelector("The field %s is given twice in one advanced event selector.", fs.Field)
			}
			n := operands(&fs)
			if n == 0 {
				return nil, badSelector("The field %s has no operator.", fs.Field)
			}
			values += n
			seen[fs.Field] = fs
			a.Fields = append(a.Fields, fs)
		}
		if err := rules.check(seen); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	if values > maxAdvancedValues {
		return nil, badSelector("The advanced event selectors can have at most %d values; %d are given.", maxAdvancedValues, values)
	}
	return out, nil
}

// storeSelectors checks the selectors of an event data store; none means all
// management events.
func storeSelectors(in []types.AdvancedEventSelector) ([]trail.AdvancedSelector, error) {
	if len(in) == 0 {
		return []trail.AdvancedSelector{{Name: defaultSelectorName, Fields: []trail.FieldSelector{{Field: trail.FieldCategory, Equals: []string{"Management"}}}}}, nil
	}
	out, err := advancedSelectors(in, storeRules)
	if err != nil {
		return nil, err
	}
	for i := range out {
		kind := classOf(out[i : i+1])
		if kind != classOf(out) || kind != classOf(nil) && len(out) > 1 {
			return nil, badSelector("An event data store of the event category %s can have no other advanced event selector.", kind)
		}
	}
	return out, nil
}

func operands(f *trail.FieldSelector) int { return len(f.Equals) + negated(f) + affixes(f) }

func affixes(f *trail.FieldSelector) int { return len(f.StartsWith) + len(f.EndsWith) }

func negated(f *trail.FieldSelector) int {
	return len(f.NotEquals) + len(f.NotStartsWith) + len(f.NotEndsWith)
}

func (rules fieldRules) check(fields map[string]trail.FieldSelector) error {
	cat, ok := fields[trail.FieldCategory]
	if !ok || len(cat.Equals) != 1 {
		return badSelector("An advanced event selector must have the field eventCategory with one Equals value.")
	}
	category := cat.Equals[0]
	known, ok := rules[category]
	if !ok {
		return badSelector("The eventCategory %s is not valid. Valid values: %s.", category, strings.Join(slices.Sorted(maps.Keys(rules)), ", "))
	}
	for name, f := range fields {
		equalsOnly, ok := known[name]
		if !ok {
			return badSelector("The field %s cannot be used with eventCategory %s.", name, category)
		}
		if equalsOnly && affixes(&f)+negated(&f) > 0 {
			return badSelector("The field %s can be used with the operator Equals only.", name)
		}
	}
	if f, ok := fields[trail.FieldReadOnly]; ok && (len(f.Equals) != 1 || f.Equals[0] != "true" && f.Equals[0] != "false") {
		return badSelector("The field readOnly must equal either true or false.")
	}
	if f, ok := fields[trail.FieldConsoleSession]; ok && !onlyTrue(&f) {
		return badSelector("The field sessionCredentialFromConsole can be used with Equals or NotEquals and the value true only.")
	}
	switch category {
	case "Management":
		if _, anySource := known[trail.FieldName]; !anySource {
			return checkManagementSource(fields)
		}
	case "Data":
		if f, ok := fields[trail.FieldResourceType]; !ok || len(f.Equals) != 1 {
			return badSelector("An advanced event selector for data events must have the field resources.type with one Equals value.")
		}
	case "NetworkActivity":
		if f, ok := fields[trail.FieldSource]; !ok || len(f.Equals) == 0 {
			return badSelector("An advanced event selector for network activity events must have the field eventSource.")
		}
		if f, ok := fields[trail.FieldErrorCode]; ok && !slices.Equal(f.Equals, []string{"VpceAccessDenied"}) {
			return badSelector("The field errorCode can equal VpceAccessDenied only.")
		}
	}
	return nil
}

// onlyTrue: the field is there and "true", or not there.
func onlyTrue(f *trail.FieldSelector) bool {
	return operands(f) == 1 && slices.Equal(append(slices.Clone(f.Equals), f.NotEquals...), []string{"true"})
}

// checkManagementSource: on trails, eventSource can only leave out the two
// sources of high volume.
func checkManagementSource(fields map[string]trail.FieldSelector) error {
	f, ok := fields[trail.FieldSource]
	if !ok {
		return nil
	}
	if operands(&f) != len(f.NotEquals) {
		return badSelector("With eventCategory Management, the field eventSource can be used with the operator NotEquals only.")
	}
	for _, v := range f.NotEquals {
		if v != "kms.amazonaws.com" && v != "rdsdata.amazonaws.com" {
			return badSelector("With eventCategory Management, the field eventSource can leave out kms.amazonaws.com and rdsdata.amazonaws.com only, not %s.", v)
		}
	}
	return nil
}

func sdkSelectors(s trail.Selectors) (basic []types.EventSelector, advanced []types.AdvancedEventSelector) {
	for _, b := range s.Basic {
		x := types.EventSelector{ReadWriteType: types.ReadWriteType(b.ReadWrite), IncludeManagementEvents: &b.IncludeManagement,
			DataResources: []types.DataResource{}, ExcludeManagementEventSources: []string{}}
		x.ExcludeManagementEventSources = append(x.ExcludeManagementEventSources, b.ExcludeSources...)
		for _, r := range b.DataResources {
			x.DataResources = append(x.DataResources, types.DataResource{Type: &r.Type, Values: r.Values})
		}
		basic = append(basic, x)
	}
	for _, a := range s.Advanced {
		x := types.AdvancedEventSelector{Name: optional(a.Name)}
		for _, f := range a.Fields {
			x.FieldSelectors = append(x.FieldSelectors, types.AdvancedFieldSelector{Field: &f.Field, Equals: f.Equals, StartsWith: f.StartsWith,
				EndsWith: f.EndsWith, NotEquals: f.NotEquals, NotStartsWith: f.NotStartsWith, NotEndsWith: f.NotEndsWith})
		}
		advanced = append(advanced, x)
	}
	return basic, advanced
}
