package trail

import (
	"encoding/json"
	"testing"

	"spoor/internal/aws"
	"spoor/internal/record"
)

var (
	s3Object = record.Record{Category: record.Data, ReadOnly: true, EventSource: "s3.amazonaws.com", EventName: "GetObject", AccountID: account, Region: home,
		Caller:    &aws.Caller{Type: aws.IAMUser, ARN: "arn:aws:iam::123456789012:user/alice"},
		Resources: []record.Resource{{Type: "AWS::S3::Object", ARN: "arn:aws:s3:::b/dir/key.txt"}, {Type: "AWS::S3::Bucket", ARN: "arn:aws:s3:::b"}}}
	insert = record.Record{Category: record.Data, EventSource: "cassandra.amazonaws.com", EventName: "Insert", AccountID: account, Region: home,
		Resources: []record.Resource{{Type: "AWS::Cassandra::Table", ARN: "arn:aws:cassandra:us-east-1:123456789012:/keyspace/k/table/t"}}}
	list    = record.Record{Category: record.Management, ReadOnly: true, EventSource: "athena.amazonaws.com", EventName: "ListWorkGroups", AccountID: account, Region: home}
	create  = record.Record{Category: record.Management, EventSource: "iam.amazonaws.com", EventName: "CreateUser", AccountID: account, Region: home}
	denied  = record.Record{Category: record.NetworkActivity, EventSource: "kms.amazonaws.com", EventName: "Decrypt", ErrorCode: "VpceAccessDenied", AccountID: account, Region: home}
	samples = []*record.Record{&s3Object, &insert, &list, &create, &denied}
)

func adv(f ...FieldSelector) Selectors { return Selectors{Advanced: []AdvancedSelector{{Fields: f}}} }

func eq(field string, v ...string) FieldSelector { return FieldSelector{Field: field, Equals: v} }

func basicData(rw ReadWrite, typ string, values ...string) Selectors {
	return Selectors{Basic: []BasicSelector{{ReadWrite: rw, DataResources: []DataResource{{Type: typ, Values: values}}}}}
}

// TestSelectors: each selector against each sample, as a record and as an
// entry of the journal; both must agree.
func TestSelectors(t *testing.T) {
	t.Parallel()
	mgmt, data, net := eq(FieldCategory, "Management"), eq(FieldCategory, "Data"), eq(FieldCategory, "NetworkActivity")
	objects := eq(FieldResourceType, "AWS::S3::Object")
	tests := []struct {
		name string
		sel  Selectors
		want string // one letter a sample: s3Object, insert, list, create, denied
	}{
		{"none set", Selectors{}, "--lc-"},
		{"read", Selectors{Basic: []BasicSelector{{ReadWrite: ReadOnly, IncludeManagement: true}}}, "--l--"},
		{"write", Selectors{Basic: []BasicSelector{{ReadWrite: WriteOnly, IncludeManagement: true}}}, "---c-"},
		{"without a source", Selectors{Basic: []BasicSelector{{ReadWrite: All, IncludeManagement: true, ExcludeSources: []string{"iam.amazonaws.com"}}}}, "--l--"},
		{"all objects", basicData(All, "AWS::S3::Object", "arn:aws:s3"), "s----"},
		{"a bucket", basicData(All, "AWS::S3::Object", "arn:aws:s3:::b/"), "s----"},
		{"another bucket", basicData(All, "AWS::S3::Object", "arn:aws:s3:::bb/"), "-----"},
		{"a prefix", basicData(All, "AWS::S3::Object", "arn:aws:s3:::x/", "arn:aws:s3:::b/dir"), "s----"},
		{"writes to a bucket", basicData(WriteOnly, "AWS::S3::Object", "arn:aws:s3:::b/"), "-----"},
		{"two selectors", Selectors{Basic: []BasicSelector{{ReadWrite: ReadOnly, IncludeManagement: true}, {ReadWrite: WriteOnly, IncludeManagement: true}}}, "--lc-"},
		{"management", adv(mgmt), "--lc-"},
		{"management, reads", adv(mgmt, eq(FieldReadOnly, "true")), "--l--"},
		{"management, not IAM", adv(mgmt, FieldSelector{Field: FieldSource, NotEquals: []string{"iam.amazonaws.com"}}), "--l--"},
		{"objects", adv(data, objects), "s----"},
		{"tables", adv(data, eq(FieldResourceType, "AWS::Cassandra::Table")), "-i---"},
		{"starts with", adv(data, objects, FieldSelector{Field: FieldResourceARN, StartsWith: []string{"arn:aws:s3:::a/", "arn:aws:s3:::b/"}}), "s----"},
		{"does not start with", adv(data, objects, FieldSelector{Field: FieldResourceARN, NotStartsWith: []string{"arn:aws:s3:::b/"}}), "-----"},
		{"ends with", adv(data, objects, FieldSelector{Field: FieldResourceARN, EndsWith: []string{".txt"}}), "s----"},
		{"does not end with", adv(data, objects, FieldSelector{Field: FieldResourceARN, NotEndsWith: []string{".txt"}}), "-----"},
		{"two operators", adv(data, objects, FieldSelector{Field: FieldResourceARN, StartsWith: []string{"arn:aws:s3:::b/"}, NotEndsWith: []string{".csv"}}), "s----"},
		// The condition on the ARN is on the resource of the type, not on any.
		{"type and ARN of different resources", adv(data, objects, eq(FieldResourceARN, "arn:aws:s3:::b")), "-----"},
		{"name", adv(data, eq(FieldName, "Insert", "Delete")), "-i---"},
		{"not the name", adv(data, FieldSelector{Field: FieldName, NotEquals: []string{"Insert"}}), "s----"},
		{"event type", adv(data, eq(FieldType, "AwsApiCall")), "si---"},
		{"source", adv(data, FieldSelector{Field: FieldSource, StartsWith: []string{"cass"}}), "-i---"},
		{"user", adv(data, eq(FieldUserARN, "arn:aws:iam::123456789012:user/alice")), "s----"},
		{"console", adv(data, eq(FieldConsoleSession, "true")), "-----"},
		{"not console", adv(data, FieldSelector{Field: FieldConsoleSession, NotEquals: []string{"true"}}), "si---"},
		{"network", adv(net, eq(FieldSource, "kms.amazonaws.com"), eq(FieldErrorCode, "VpceAccessDenied")), "----d"},
		{"network, an endpoint", adv(net, eq(FieldSource, "kms.amazonaws.com"), eq(FieldVPCEndpoint, "vpce-1")), "-----"},
		{"a category without events", adv(eq(FieldCategory, "Insight")), "-----"},
		{"either", Selectors{Advanced: []AdvancedSelector{{Fields: []FieldSelector{mgmt}}, {Fields: []FieldSelector{data, objects}}}}, "s-lc-"},
	}
	for _, tt := range tests {
		m := compile(tt.sel)
		got := ""
		for i, r := range samples {
			c := "-"
			if m.matches((*recordEvent)(r)) {
				c = "silcd"[i : i+1]
			}
			got += c
			if entry := asEntry(t, r); m.matches(&entryEvent{e: &entry}) != (c != "-") {
				t.Errorf("%s: record and entry of %s differ", tt.name, r.EventName)
			}
		}
		if got != tt.want {
			t.Errorf("%s selects %s, want %s", tt.name, got, tt.want)
		}
		if hasData := got[:2] != "--"; hasData && !tt.sel.HasData() {
			t.Errorf("%s selects data events and says it does not", tt.name)
		}
	}
}

func asEntry(t testing.TB, r *record.Record) record.Entry {
	t.Helper()
	c := *r
	if c.Caller == nil {
		c.Caller = &aws.Caller{Type: aws.AWSService}
	}
	b, _ := c.AppendEntry(nil, nil)
	e, err := record.DecodeEntry(b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRegions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		home          string
		multi, global bool
		region        string
		source        string
		want          bool
	}{
		{home, false, true, home, "iam.amazonaws.com", true},
		{home, false, false, home, "iam.amazonaws.com", false},
		{home, false, false, home, "athena.amazonaws.com", true},
		{home, false, true, "eu-west-1", "athena.amazonaws.com", false},
		{"eu-west-1", false, true, home, "iam.amazonaws.com", false},
		{"eu-west-1", true, true, home, "sts.amazonaws.com", true},
		{"eu-west-1", true, false, "eu-west-1", "sts.amazonaws.com", true},
	} {
		s := Settings{MultiRegion: tt.multi, GlobalEvents: tt.global}
		if got := s.inRegion(tt.home, tt.region, (*recordEvent)(&record.Record{EventSource: tt.source})); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// TestSelectsDoesNotAllocate: it runs on every data event.
func TestSelectsDoesNotAllocate(t *testing.T) {
	m := &Manager{}
	state := &State{Account: account, HomeRegion: home, Name: "audit", Settings: Settings{Logging: true, GlobalEvents: true,
		Selectors: adv(eq(FieldCategory, "Data"), eq(FieldResourceType, "AWS::Cassandra::Table"), FieldSelector{Field: FieldName, NotEquals: []string{"Select"}})}}
	m.snap.Store(newSnapshot(map[string]*State{arn: state}))
	if !m.Selects(&insert) || m.Selects(&s3Object) || !m.AnyData() {
		t.Error("wrong selection")
	}
	if n := testing.AllocsPerRun(100, func() { m.Selects(&insert) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzSelectors(f *testing.F) {
	for _, s := range []Selectors{{}, basicData(All, "AWS::S3::Object", "arn:aws:s3"), adv(eq(FieldCategory, "Data"), eq(FieldResourceType, "AWS::S3::Object"))} {
		b, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Selectors
		if json.Unmarshal(b, &s) != nil {
			return
		}
		m := compile(s)
		for _, r := range samples {
			got := m.matches((*recordEvent)(r))
			entry := asEntry(t, r)
			if m.matches(&entryEvent{e: &entry}) != got {
				t.Fatalf("record and entry of %s differ", r.EventName)
			}
			if got && r.Category == record.Data && !m.anyData {
				t.Fatal("a data event is selected and anyData is false")
			}
		}
	})
}

func BenchmarkSelects(b *testing.B) {
	m := &Manager{}
	state := &State{Account: account, HomeRegion: home, Name: "audit", Settings: Settings{Logging: true, GlobalEvents: true,
		Selectors: adv(eq(FieldCategory, "Data"), eq(FieldResourceType, "AWS::Cassandra::Table"))}}
	m.snap.Store(newSnapshot(map[string]*State{arn: state}))
	b.ReportAllocs()
	for b.Loop() {
		m.Selects(&insert)
	}
}
