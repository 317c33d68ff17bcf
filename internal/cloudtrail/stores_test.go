package cloudtrail

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"

	"spoor/internal/record"
)

// selects is an advanced selector by field and value.
func selects(pairs ...string) types.AdvancedEventSelector {
	var out types.AdvancedEventSelector
	for i := 0; i < len(pairs); i += 2 {
		out.FieldSelectors = append(out.FieldSelectors, types.AdvancedFieldSelector{Field: &pairs[i], Equals: []string{pairs[i+1]}})
	}
	return out
}

func (r *rig) newStore(c *sdk.Client, name string, sel ...types.AdvancedEventSelector) *sdk.CreateEventDataStoreOutput {
	r.t.Helper()
	out, err := c.CreateEventDataStore(r.t.Context(), &sdk.CreateEventDataStoreInput{Name: &name, AdvancedEventSelectors: sel, TerminationProtectionEnabled: new(false)})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// events are those that a store holds, by name, as far as the journal has come.
func (r *rig) events(arn string) map[string]int {
	r.t.Helper()
	if err := r.lake.WaitFor(r.t.Context(), r.jr.Head()); err != nil {
		r.t.Fatal(err)
	}
	out := map[string]int{}
	err := r.lake.Events(arn[strings.LastIndexByte(arn, '/')+1:], time.Unix(0, 0), time.Now().AddDate(100, 0, 0), func(b []byte) (bool, error) {
		var e struct {
			EventName string
			EventData struct{ EventName string }
		}
		err := json.Unmarshal(b, &e)
		out[e.EventName+e.EventData.EventName]++
		return true, err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out
}

// TestStoreLife is an event data store from creation to restoration.
func TestStoreLife(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	out, err := c.CreateEventDataStore(ctx, &sdk.CreateEventDataStoreInput{Name: new("main"), TagsList: []types.Tag{{Key: new("team"), Value: new("red")}}})
	if err != nil {
		t.Fatal(err)
	}
	if out.Status != types.EventDataStoreStatusCreated || *out.RetentionPeriod != 366 || !*out.TerminationProtectionEnabled || !*out.MultiRegionEnabled ||
		out.BillingMode != types.BillingModeExtendableRetentionPricing || *out.AdvancedEventSelectors[0].FieldSelectors[0].Field != "eventCategory" {
		t.Errorf("created %+v", out)
	}
	arn := *out.EventDataStoreArn
	id := arn[strings.LastIndexByte(arn, '/')+1:]
	got, err := c.GetEventDataStore(ctx, &sdk.GetEventDataStoreInput{EventDataStore: &id})
	if err != nil || got.Status != types.EventDataStoreStatusEnabled || *got.EventDataStoreArn != arn || got.FederationStatus != types.FederationStatusDisabled {
		t.Errorf("got %+v, %v", got, err)
	}
	step := func(name string, err error, want string) {
		t.Helper()
		if code(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	_, err = c.DeleteEventDataStore(ctx, &sdk.DeleteEventDataStoreInput{EventDataStore: &arn})
	step("protected", err, "EventDataStoreTerminationProtectedException")
	_, err = c.StopEventDataStoreIngestion(ctx, &sdk.StopEventDataStoreIngestionInput{EventDataStore: &arn})
	step("stop", err, "")
	_, err = c.StopEventDataStoreIngestion(ctx, &sdk.StopEventDataStoreIngestionInput{EventDataStore: &arn})
	step("stop again", err, "InvalidEventDataStoreStatusException")
	_, err = c.CreateTrail(ctx, create("unseen"))
	step("a call while stopped", err, "")
	_, err = c.StartEventDataStoreIngestion(ctx, &sdk.StartEventDataStoreIngestionInput{EventDataStore: &arn})
	step("start", err, "")
	up, err := c.UpdateEventDataStore(ctx, &sdk.UpdateEventDataStoreInput{EventDataStore: &arn, Name: new("other"), TerminationProtectionEnabled: new(false), RetentionPeriod: new(int32(30))})
	if err != nil || *up.Name != "other" || *up.RetentionPeriod != 30 || up.Status != types.EventDataStoreStatusEnabled {
		t.Errorf("updated %+v, %v", up, err)
	}
	_, err = c.DeleteEventDataStore(ctx, &sdk.DeleteEventDataStoreInput{EventDataStore: &arn})
	step("delete", err, "")
	_, err = c.UpdateEventDataStore(ctx, &sdk.UpdateEventDataStoreInput{EventDataStore: &arn})
	step("update of a deleted one", err, "InactiveEventDataStoreException")
	if got, err = c.GetEventDataStore(ctx, &sdk.GetEventDataStoreInput{EventDataStore: &arn}); err != nil || got.Status != types.EventDataStoreStatusPendingDeletion {
		t.Errorf("deleted %+v, %v", got, err)
	}
	back, err := c.RestoreEventDataStore(ctx, &sdk.RestoreEventDataStoreInput{EventDataStore: &arn})
	if err != nil || back.Status != types.EventDataStoreStatusEnabled {
		t.Errorf("restored %+v, %v", back, err)
	}
	_, err = c.RestoreEventDataStore(ctx, &sdk.RestoreEventDataStoreInput{EventDataStore: &arn})
	step("restore again", err, "InvalidEventDataStoreStatusException")
	// What the store holds: its creation and what came after, but not the call
	// that stops it and those made while it was stopped or deleted.
	want := map[string]int{"CreateEventDataStore": 1, "GetEventDataStore": 1, "DeleteEventDataStore": 1, "StartEventDataStoreIngestion": 1,
		"UpdateEventDataStore": 1, "RestoreEventDataStore": 2}
	if d := cmp.Diff(want, r.events(arn)); d != "" {
		t.Error(d)
	}
	tags, err := c.ListTags(ctx, &sdk.ListTagsInput{ResourceIdList: []string{arn}})
	if err != nil || len(tags.ResourceTagList) != 1 || *tags.ResourceTagList[0].TagsList[0].Value != "red" {
		t.Errorf("tags %+v, %v", tags, err)
	}
}

func TestStoreErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	r.newStore(c, "main")
	made := func(change func(in *sdk.CreateEventDataStoreInput)) error {
		in := &sdk.CreateEventDataStoreInput{Name: new("another")}
		change(in)
		_, err := c.CreateEventDataStore(ctx, in)
		return err
	}
	with := func(sel ...types.AdvancedEventSelector) error {
		return made(func(in *sdk.CreateEventDataStoreInput) { in.AdvancedEventSelectors = sel })
	}
	tests := []struct {
		name string
		err  error
		code string
	}{
		{"twice", made(func(in *sdk.CreateEventDataStoreInput) { in.Name = new("main") }), "EventDataStoreAlreadyExistsException"},
		{"key", made(func(in *sdk.CreateEventDataStoreInput) { in.KmsKeyId = new("alias/k") }), "KmsKeyNotFoundException"},
		{"organization", made(func(in *sdk.CreateEventDataStoreInput) { in.OrganizationEnabled = new(true) }), "OrganizationsNotInUseException"},
		{"retention", made(func(in *sdk.CreateEventDataStoreInput) {
			in.RetentionPeriod, in.BillingMode = new(int32(2558)), types.BillingModeFixedRetentionPricing
		}), "InvalidParameterException"},
		{"short retention", made(func(in *sdk.CreateEventDataStoreInput) { in.RetentionPeriod = new(int32(6)) }), "ValidationException"},
		{"category", with(selects("eventCategory", "Weather")), "InvalidEventSelectorsException"},
		{"mixed", with(selects("eventCategory", "Insight"), selects("eventCategory", "Management")), "InvalidEventSelectorsException"},
		{"no type", with(selects("eventCategory", "Data")), "InvalidEventSelectorsException"},
		{"console", with(selects("eventCategory", "Management", "sessionCredentialFromConsole", "false")), "InvalidEventSelectorsException"},
		{"insight with more", with(selects("eventCategory", "Insight", "eventName", "x")), "InvalidEventSelectorsException"},
	}
	for _, tt := range tests {
		if code(tt.err) != tt.code {
			t.Errorf("%s: %v, want %s", tt.name, tt.err, tt.code)
		}
	}
	if err := with(selects("eventCategory", "Management", "eventName", "CreateUser", "userIdentity.arn", "arn:aws:iam::1:user/x")); err != nil {
		t.Errorf("fields that only event data stores have: %v", err)
	}
	for i := range 9 {
		_, err := c.CreateEventDataStore(ctx, &sdk.CreateEventDataStoreInput{Name: new(fmt.Sprintf("store-%d", i))})
		if want := map[bool]string{true: "EventDataStoreMaxLimitExceededException"}[i == 8]; code(err) != want {
			t.Errorf("store %d: %v", i+3, err)
		}
	}
	var names []string
	for in := (&sdk.ListEventDataStoresInput{MaxResults: new(int32(4))}); ; {
		l, err := c.ListEventDataStores(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range l.EventDataStores {
			names = append(names, *s.Name)
		}
		if in.NextToken = l.NextToken; l.NextToken == nil {
			break
		}
	}
	// Stores of one millisecond have no order among themselves.
	slices.Sort(names)
	if len(slices.Compact(names)) != 10 || names[0] != "another" || names[9] != "store-7" {
		t.Errorf("listed %v", names)
	}
	if _, err := c.ListEventDataStores(ctx, &sdk.ListEventDataStoresInput{NextToken: new("nonsense")}); code(err) != "InvalidNextTokenException" {
		t.Errorf("token: %v", err)
	}
}

// TestStoreSelects: a data event is recorded because an event data store
// selects it, from the store's creation to its end.
func TestStoreSelects(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	rec := &record.Record{Category: record.Data, AccountID: account, Region: region, EventName: "PutAuditEvents",
		Resources: []record.Resource{{Type: channelType, ARN: "arn:aws:cloudtrail:us-east-1:" + account + ":channel/x"}}}
	if r.lake.AnyData() || r.lake.Selects(rec) {
		t.Error("selected by nobody")
	}
	version := r.lake.Version()
	arn := *r.newStore(c, "data", selects("eventCategory", "Data", "resources.type", channelType)).EventDataStoreArn
	if !r.lake.AnyData() || !r.lake.Selects(rec) || r.lake.Version() == version {
		t.Error("not selected by the store")
	}
	if rec.AccountID = "999999999999"; r.lake.Selects(rec) {
		t.Error("selected in another account")
	}
	rec.AccountID = account
	// The same by way of a call: PutAuditEvents is a data event of its channel.
	outside := *r.newStore(c, "outside", selects("eventCategory", "ActivityAuditLog")).EventDataStoreArn
	ch, err := c.CreateChannel(ctx, &sdk.CreateChannelInput{Name: new("app"), Source: new("Custom"),
		Destinations: []types.Destination{{Type: types.DestinationTypeEventDataStore, Location: &outside}}})
	if err != nil {
		t.Fatal(err)
	}
	put := func() {
		t.Helper()
		if status, kind, _ := r.put(*ch.ChannelArn, map[string]any{"id": "a", "eventData": event(nil)}); status != 200 {
			t.Fatal(kind)
		}
	}
	put()
	if d := cmp.Diff(map[string]int{"PutAuditEvents": 1}, r.events(arn)); d != "" {
		t.Error(d)
	}
	if _, err := c.DeleteEventDataStore(ctx, &sdk.DeleteEventDataStoreInput{EventDataStore: &arn}); err != nil {
		t.Fatal(err)
	}
	if r.lake.AnyData() || r.lake.Selects(rec) {
		t.Error("selected by a deleted store")
	}
	before := r.jr.Head()
	put()
	if head := r.jr.Head(); head != before { // a channel's events are no records of the journal
		t.Errorf("a call that nothing selects left %d records", head-before)
	}
	if n := r.events(arn)["PutAuditEvents"]; n != 1 {
		t.Errorf("a deleted store took %d events", n)
	}
}

func event(change func(m map[string]any)) string {
	m := map[string]any{"version": "1", "userIdentity": map[string]any{"type": "user", "principalId": "p"}, "eventSource": "app.example.com",
		"eventName": "Login", "eventTime": "2026-11-01T10:00:00Z", "UID": "u", "recipientAccountId": account}
	if change != nil {
		change(m)
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// put calls PutAuditEvents as an SDK does.
func (r *rig) put(channel string, events ...map[string]any) (status int, kind string, out auditOutput) {
	r.t.Helper()
	body, err := json.Marshal(map[string]any{"auditEvents": events})
	if err != nil {
		r.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"/PutAuditEvents?channelArn="+channel, bytes.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAROOT/20261101/us-east-1/cloudtrail-data/aws4_request, SignedHeaders=host, Signature=0")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("x-amzn-ErrorType"), out
}

// TestChannels: events of an outside source come in through a channel.
func TestChannels(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	plain := *r.newStore(c, "plain").EventDataStoreArn
	store := *r.newStore(c, "outside", selects("eventCategory", "ActivityAuditLog")).EventDataStoreArn
	to := func(arn string) []types.Destination {
		return []types.Destination{{Type: types.DestinationTypeEventDataStore, Location: &arn}}
	}
	_, err := c.CreateChannel(ctx, &sdk.CreateChannelInput{Name: new("app"), Source: new("Custom"), Destinations: to(plain)})
	if code(err) != "InvalidEventDataStoreCategoryException" {
		t.Errorf("a channel into a store of CloudTrail events: %v", err)
	}
	if _, err = c.CreateChannel(ctx, &sdk.CreateChannelInput{Name: new("app"), Source: new("Nobody"), Destinations: to(store)}); code(err) != "InvalidSourceException" {
		t.Errorf("source: %v", err)
	}
	ch, err := c.CreateChannel(ctx, &sdk.CreateChannelInput{Name: new("app"), Source: new("Custom"), Destinations: to(store)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.CreateChannel(ctx, &sdk.CreateChannelInput{Name: new("app"), Source: new("Custom"), Destinations: to(store)}); code(err) != "ChannelAlreadyExistsException" {
		t.Errorf("twice: %v", err)
	}
	if _, err := c.DeleteEventDataStore(ctx, &sdk.DeleteEventDataStoreInput{EventDataStore: &store}); code(err) != "ChannelExistsForEDSException" {
		t.Errorf("deleting a channel's store: %v", err)
	}
	sum := sha256.Sum256([]byte(event(nil)))
	good := base64.StdEncoding.EncodeToString(sum[:])
	given := func(id string, data string, checksum ...string) map[string]any {
		m := map[string]any{"id": id, "eventData": data}
		if len(checksum) > 0 {
			m["eventDataChecksum"] = checksum[0]
		}
		return m
	}
	more := func(members string) string { return event(nil)[:len(event(nil))-1] + "," + members + "}" }
	status, kind, out := r.put(*ch.ChannelArn, given("a", event(nil), good), given("b", event(nil), "AAAA"), given("c", "no"),
		given("d", event(func(m map[string]any) { delete(m, "UID") })), given("e", event(func(m map[string]any) { m["recipientAccountId"] = "999999999999" })),
		given("f", event(func(m map[string]any) { m["eventName"] = strings.Repeat("x", 1025) })),
		given("g", event(func(m map[string]any) { m["eventSource"] = "s3.amazonaws.com" })),
		given("h", event(func(m map[string]any) { m["eventTime"] = "yesterday" })),
		given("i", event(func(m map[string]any) { m["requestParameters"] = "text" })),
		given("j", more(`"requestParameters":{"a":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+`}`)),
		given("k", more(`"eventSource":"s3.amazonaws.com","eventSource":"app.example.com"`)),
		given("l", event(func(m map[string]any) { m["eventSource"], m["eventſource"] = "s3.amazonaws.com", "app.example.com" })),
		given("m", event(func(m map[string]any) { m["recipientAccountId"], m["recipientaccountID"] = "999999999999", account })),
		given("n", event(func(m map[string]any) {
			m["userIdentity"] = map[string]any{"type": "user", "Type": "Root", "principalId": "p"}
		})),
		given("o", event(func(m map[string]any) { m["eventTime"] = "9999-12-31T23:59:59-01:00" })))
	codes := map[string]string{}
	for _, f := range out.Failed {
		codes[*f.Id] = *f.ErrorCode
	}
	want := map[string]string{"b": "InvalidChecksum", "c": "InvalidData", "d": "FieldNotFound", "e": "InvalidRecipient", "f": "FieldTooLong",
		"g": "InvalidEventSource", "h": "InvalidData", "i": "InvalidData", "j": "InvalidData", "k": "InvalidData", "l": "InvalidData", "m": "InvalidData",
		"n": "InvalidData", "o": "InvalidData"}
	if d := cmp.Diff(want, codes); d != "" || status != 200 || kind != "" || len(out.Successful) != 1 || *out.Successful[0].Id != "a" {
		t.Errorf("%d %s %+v: %s", status, kind, out.Successful, d)
	}
	if d := cmp.Diff(map[string]int{"Login": 1}, r.events(store)); d != "" {
		t.Error(d)
	}
	got, err := c.GetChannel(ctx, &sdk.GetChannelInput{Channel: ch.ChannelArn})
	if err != nil || *got.IngestionStatus.LatestIngestionSuccessEventID != *out.Successful[0].EventID || *got.IngestionStatus.LatestIngestionErrorCode != "InvalidData" {
		t.Errorf("channel %+v, %v", got, err)
	}
	for _, tt := range []struct {
		channel string
		events  []map[string]any
		kind    string
	}{
		{"arn:aws:cloudtrail:us-east-1:" + account + ":channel/123e4567-e89b-12d3-a456-426614174000", []map[string]any{given("a", event(nil))}, "ChannelNotFound"},
		{"arn:aws:s3:::x", []map[string]any{given("a", event(nil))}, "InvalidChannelARN"},
		{*ch.ChannelArn, []map[string]any{given("a", event(nil)), given("a", event(nil))}, "DuplicatedAuditEventId"},
		{*ch.ChannelArn, []map[string]any{}, "ValidationException"},
		{*ch.ChannelArn, []map[string]any{given("a", strings.Repeat("x", 1<<20+1))}, "RequestEntityTooLargeException"},
	} {
		if _, kind, _ := r.put(tt.channel, tt.events...); kind != tt.kind {
			t.Errorf("%s: %s, want %s", tt.channel, kind, tt.kind)
		}
	}
	if _, err := c.DeleteChannel(ctx, &sdk.DeleteChannelInput{Channel: ch.ChannelArn}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteEventDataStore(ctx, &sdk.DeleteEventDataStoreInput{EventDataStore: &store}); err != nil {
		t.Error(err)
	}
}

func logFile(t *testing.T, events ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := fmt.Fprintf(z, `{"Records":[%s]}`, strings.Join(events, ",")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestImport: a trail's log files come into a store, those that are none are
// listed, and a stopped import goes on where it was.
func TestImport(t *testing.T) {
	t.Parallel()
	r := newRigWith(t, nil, importer{})
	ctx, c := t.Context(), r.client(region)
	old := func(name, at string) string {
		return `{"eventTime":"` + at + `","eventID":"` + name + `","eventName":"` + name + `"}`
	}
	r.files.objects = map[string][]byte{
		"logs/AWSLogs/1/CloudTrail/us-east-1/2020/01/01/a.json.gz": logFile(t, old("One", "2020-01-01T10:00:00Z"), old("Two", "2020-01-01T11:00:00Z")),
		"logs/AWSLogs/1/CloudTrail/us-east-1/2020/01/01/b.json.gz": []byte("no archive"),
		"logs/AWSLogs/1/CloudTrail/us-east-1/2020/01/01/deep.json.gz": logFile(t, old("Deep", "2020-01-01T11:00:00Z"), strings.Replace(old("Deeper", "2020-01-01T11:00:00Z"), "}",
			`,"requestParameters":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+"}", 1)),
		"logs/AWSLogs/1/CloudTrail/us-east-1/2020/01/02/c.json.gz":      logFile(t, old("Three", "2020-01-02T10:00:00Z")),
		"logs/AWSLogs/1/CloudTrail-Digest/us-east-1/d.json.gz":          logFile(t, old("Digest", "2020-01-02T10:00:00Z")),
		"logs/AWSLogs/1/CloudTrail/us-east-1/2020/01/02/secret.json.gz": logFile(t, old("Secret", "2020-01-01T10:00:00Z")),
		"logs/AWSLogs/1/note.txt":                                       []byte("x"),
	}
	r.files.refuse = "AWSLogs/1/CloudTrail/us-east-1/2020/01/02/secret.json.gz"
	store := *r.newStore(c, "main", selects("eventCategory", "Management", "eventName", "Nothing")).EventDataStoreArn
	in := &sdk.StartImportInput{Destinations: []string{store}, EndEventTime: new(time.Date(2020, 1, 2, 0, 0, 0, 0, time.UTC)), ImportSource: &types.ImportSource{
		S3: &types.S3ImportSource{S3LocationUri: new("s3://logs/AWSLogs/"), S3BucketRegion: new(region), S3BucketAccessRoleArn: new("arn:aws:iam::" + account + ":role/importer")}}}
	started, err := c.StartImport(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if p := r.asked.perms; len(p) != 5 || p[4].Resource != "arn:aws:s3:::logs/AWSLogs/*" {
		t.Errorf("permissions %+v", p)
	}
	var got *sdk.GetImportOutput
	until(t, func() bool {
		got, err = c.GetImport(ctx, &sdk.GetImportInput{ImportId: started.ImportId})
		return err == nil && got.ImportStatus == types.ImportStatusFailed
	})
	if st := got.ImportStatistics; *st.FilesCompleted != 2 || *st.EventsCompleted != 2 || *st.FailedEntries != 3 || *st.PrefixesCompleted != 1 {
		t.Errorf("statistics %+v", st)
	}
	if d := cmp.Diff(map[string]int{"One": 1, "Two": 1}, r.events(store)); d != "" {
		t.Error(d)
	}
	fails, err := c.ListImportFailures(ctx, &sdk.ListImportFailuresInput{ImportId: started.ImportId})
	if err != nil || len(fails.Failures) != 3 || !strings.HasSuffix(*fails.Failures[1].Location, "/deep.json.gz") || !strings.HasSuffix(*fails.Failures[0].Location, "/b.json.gz") || *fails.Failures[0].ErrorType != "InvalidFormat" {
		t.Errorf("failures %+v, %v", fails, err)
	}
	// Who started the import and its role are asked about for each file.
	if want := "arn:aws:iam::" + account + ":root arn:aws:iam::" + account + ":role/importer"; len(r.files.callers) != 5 || r.files.callers[0] != want {
		t.Errorf("asked for %v", r.files.callers)
	}
	if f := fails.Failures[2]; *f.ErrorType != "AccessDenied" || !strings.HasSuffix(*f.Location, "/secret.json.gz") {
		t.Errorf("the refused object: %+v", f)
	}
	opened := len(r.files.opened)
	if slices.Contains(r.files.opened, r.files.refuse) {
		t.Error("an object was read that the import may not read")
	}
	if _, err = c.StartImport(ctx, &sdk.StartImportInput{ImportId: started.ImportId}); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		got, err = c.GetImport(ctx, &sdk.GetImportInput{ImportId: started.ImportId})
		return err == nil && got.ImportStatus == types.ImportStatusFailed
	})
	r.files.mu.Lock()
	defer r.files.mu.Unlock()
	if len(r.files.opened) != opened {
		t.Errorf("files that were done were read again: %v", r.files.opened[opened:])
	}
	in.ImportSource.S3.S3LocationUri = new("s3://absent/x")
	if _, err = c.StartImport(ctx, in); code(err) != "InvalidImportSourceException" {
		t.Errorf("no bucket: %v", err)
	}
	l, err := c.ListImports(ctx, &sdk.ListImportsInput{Destination: &store})
	if err != nil || len(l.Imports) != 1 || *l.Imports[0].ImportId != *started.ImportId {
		t.Errorf("listed %+v, %v", l, err)
	}
	if _, err = c.StopImport(ctx, &sdk.StopImportInput{ImportId: started.ImportId}); code(err) != "InvalidParameterException" {
		t.Errorf("stopping what is over: %v", err)
	}
}

// TestOwnerInRecords: a record gives a resource to the account that its ARN
// names, not to the caller's.
func TestOwnerInRecords(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	foreign := func(kind string) *string {
		return new("arn:aws:cloudtrail:us-east-1:999999999999:" + kind + "/123e4567-e89b-12d3-a456-426614174000")
	}
	store, channel := foreign("eventdatastore"), foreign("channel")
	for name, call := range map[string]func() error{
		"DeleteEventDataStore": func() error {
			_, err := c.DeleteEventDataStore(ctx, &sdk.DeleteEventDataStoreInput{EventDataStore: store})
			return err
		},
		"AddTags": func() error {
			_, err := c.AddTags(ctx, &sdk.AddTagsInput{ResourceId: channel, TagsList: []types.Tag{{Key: new("k")}}})
			return err
		},
		"StopLogging": func() error {
			_, err := c.StopLogging(ctx, &sdk.StopLoggingInput{Name: new("arn:aws:cloudtrail:us-east-1:999999999999:trail/audit")})
			return err
		},
	} {
		if err := call(); err == nil {
			t.Errorf("%s: no error", name)
		}
		it, err := r.jr.Get(r.jr.Head())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(it.JSON, []byte(`"eventName":"`+name+`"`)) || !bytes.Contains(it.JSON, []byte(`"resources":[{"accountId":"999999999999"`)) {
			t.Errorf("%s: %s", name, it.JSON)
		}
	}
}

// TestPolicies: a resource's policy is kept and goes into the authorisation of
// calls on it.
func TestPolicies(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	arn := *r.newStore(c, "main").EventDataStoreArn
	doc := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999999999999:root"},"Action":"cloudtrail:GetEventDataStore","Resource":"` + arn + `"}]}`
	if _, err := c.GetResourcePolicy(ctx, &sdk.GetResourcePolicyInput{ResourceArn: &arn}); code(err) != "ResourcePolicyNotFoundException" {
		t.Errorf("none: %v", err)
	}
	if _, err := c.PutResourcePolicy(ctx, &sdk.PutResourcePolicyInput{ResourceArn: &arn, ResourcePolicy: &doc}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetEventDataStore(ctx, &sdk.GetEventDataStoreInput{EventDataStore: &arn}); err != nil {
		t.Fatal(err)
	}
	if p := r.asked.perms[0]; p.ResourcePolicy != doc || p.Resource != arn || p.ResourceAccount != account {
		t.Errorf("permission %+v", p)
	}
	got, err := c.GetResourcePolicy(ctx, &sdk.GetResourcePolicyInput{ResourceArn: &arn})
	if err != nil || *got.ResourcePolicy != doc {
		t.Errorf("%+v, %v", got, err)
	}
	for _, tt := range []struct{ name, arn, doc, code string }{
		{"text", arn, "{}", "ResourcePolicyNotValidException"},
		{"other resource", arn, strings.Replace(doc, `"Resource":"`+arn, `"Resource":"*`, 1), "ResourcePolicyNotValidException"},
		{"trail", audit, doc, "ResourceTypeNotSupportedException"},
		{"bucket", "arn:aws:s3:::x", doc, "ResourceARNNotValidException"},
		{"absent", strings.Replace(arn, arn[len(arn)-4:], "0000", 1), doc, "ResourceNotFoundException"},
	} {
		if _, err := c.PutResourcePolicy(ctx, &sdk.PutResourcePolicyInput{ResourceArn: &tt.arn, ResourcePolicy: &tt.doc}); code(err) != tt.code {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.code)
		}
	}
	if _, err := c.DeleteResourcePolicy(ctx, &sdk.DeleteResourcePolicyInput{ResourceArn: &arn}); err != nil {
		t.Error(err)
	}
}

// TestInsights: selectors are kept when what they need is logged.
func TestInsights(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	source := *r.newStore(c, "reads", selects("eventCategory", "Management", "readOnly", "true")).EventDataStoreArn
	sink := *r.newStore(c, "insights", selects("eventCategory", "Insight")).EventDataStoreArn
	one := func(k types.InsightType) []types.InsightSelector { return []types.InsightSelector{{InsightType: k}} }
	_, err := c.PutInsightSelectors(ctx, &sdk.PutInsightSelectorsInput{EventDataStore: &source, InsightsDestination: &sink, InsightSelectors: one(types.InsightTypeApiCallRateInsight)})
	if code(err) != "InvalidInsightSelectorsException" {
		t.Errorf("call rate of reads: %v", err)
	}
	if _, err = c.PutInsightSelectors(ctx, &sdk.PutInsightSelectorsInput{EventDataStore: &source, InsightsDestination: &source, InsightSelectors: one(types.InsightTypeApiErrorRateInsight)}); code(err) != "InvalidInsightSelectorsException" {
		t.Errorf("into itself: %v", err)
	}
	if _, err = c.PutInsightSelectors(ctx, &sdk.PutInsightSelectorsInput{EventDataStore: &source, InsightsDestination: &sink, InsightSelectors: one(types.InsightTypeApiErrorRateInsight)}); err != nil {
		t.Fatal(err)
	}
	got, err := c.GetInsightSelectors(ctx, &sdk.GetInsightSelectorsInput{EventDataStore: &source})
	if err != nil || *got.InsightsDestination != sink || got.InsightSelectors[0].EventCategories[0] != types.SourceEventCategoryManagement {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.CreateTrail(ctx, create("audit")); err != nil {
		t.Fatal(err)
	}
	if _, err = c.PutInsightSelectors(ctx, &sdk.PutInsightSelectorsInput{TrailName: new("audit"), InsightSelectors: one(types.InsightTypeApiCallRateInsight)}); err != nil {
		t.Error(err)
	}
	if tr, err := c.GetTrail(ctx, &sdk.GetTrailInput{Name: new("audit")}); err != nil || !*tr.Trail.HasInsightSelectors {
		t.Errorf("%+v, %v", tr, err)
	}
}
