package cloudtrail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/smithy-go"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/athena"
	"spoor/internal/aws"
	"spoor/internal/awshttp"
	"spoor/internal/awshttp/model"
	"spoor/internal/call"
	"spoor/internal/engine/duckdb"
	"spoor/internal/glue"
	"spoor/internal/history"
	"spoor/internal/insights"
	"spoor/internal/journal"
	"spoor/internal/kv"
	"spoor/internal/lake"
	"spoor/internal/notify"
	"spoor/internal/record"
	"spoor/internal/trail"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

const (
	account = "123456789012"
	region  = "us-east-1"
	audit   = "arn:aws:cloudtrail:us-east-1:123456789012:trail/audit"
)

// bucket is object storage that keeps what is put.
type bucket struct {
	mu       sync.Mutex
	policies map[string]string
	puts     map[string]int
	bodies   map[string][]byte
}

func (b *bucket) Put(_ context.Context, name, key string, body []byte, _ trail.PutOptions) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.policies[name]; !ok {
		return trail.ErrNoSuchBucket
	}
	b.puts[name+"/"+key]++
	b.bodies[name+"/"+key] = slices.Clone(body)
	return nil
}

func (b *bucket) Policy(_ context.Context, name string) (string, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p, ok := b.policies[name]
	if !ok {
		return "", "", trail.ErrNoSuchBucket
	}
	return p, account, nil
}

func (b *bucket) PolicyFor(name string, _ *aws.Caller) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.policies[name]
}

func (*bucket) Account(string) string { return account }

const openPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},
"Action":["s3:GetBucketAcl","s3:PutObject"],"Resource":["arn:aws:s3:::logs","arn:aws:s3:::logs/*"]}]}`

type sealer struct{}

func (sealer) Put(b *kv.Batch, key, plain []byte)              { b.Set(key, plain) }
func (sealer) Get(store *kv.Store, key []byte) ([]byte, error) { return store.Get(key) }

// files is the object storage that imports read, by "bucket/key".
type files struct {
	mu      sync.Mutex
	objects map[string][]byte
	opened  []string
	refuse  string // the key that no import may read
	callers []string
}

func (f *files) May(_ context.Context, i *lake.Import, key string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.callers = append(f.callers, i.Caller.ARN+" "+i.Role)
	return key != f.refuse, nil
}

func (f *files) List(_ context.Context, bucket, prefix, after string, fn func(key string) bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(f.objects)) {
		key, in := strings.CutPrefix(name, bucket+"/")
		if in && strings.HasPrefix(key, prefix) && key > after && !fn(key) {
			return nil
		}
	}
	return nil
}

func (f *files) Open(_ context.Context, bucket, key string) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened = append(f.opened, key)
	b, ok := f.objects[bucket+"/"+key]
	if !ok {
		return nil, lake.ErrNoObject
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

// set makes the authoriser deny.
func (a *asked) set(deny func(c *call.Call, p call.Permission) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.deny = deny
}

// otherAccount is the account of the access key AKIAOTHER.
const otherAccount = "999999999999"

// anyone lets every call in as an account's root user.
type anyone struct{}

func (anyone) Authenticate(r *http.Request, _ []byte, _ string, _ bool) (*awshttp.Identity, error) {
	_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	p := strings.Split(scope, "/")
	account := account
	if p[0] == "AKIAOTHER" {
		account = otherAccount
	}
	return &awshttp.Identity{Region: p[2], Service: "cloudtrail", Caller: &aws.Caller{Type: aws.Root, AccountID: account, PrincipalID: account,
		ARN: "arn:aws:iam::" + account + ":root", AccessKeyID: p[0]}}, nil
}

// asked notes what permissions calls need.
type asked struct {
	mu    sync.Mutex
	perms []call.Permission
	deny  func(c *call.Call, p call.Permission) bool
}

func (a *asked) Authorize(_ context.Context, c *call.Call, perms []call.Permission) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.perms = append(a.perms[:0], perms...)
	for _, p := range perms {
		if a.deny != nil && a.deny(c, p) {
			return aws.NewError(aws.Denied, "AccessDenied", "User: "+c.Caller.ARN+" is not authorized to perform: "+p.Action+" on resource: "+p.Resource)
		}
	}
	return nil
}

type rig struct {
	t      *testing.T
	bucket *bucket
	asked  *asked
	store  *kv.Store
	jr     *journal.Journal
	trails *trail.Manager
	lake   *lake.Manager
	files  *files
	conf   Config
	path   *call.Path
	url    string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, nil, nil)
}

// newRigWith is a rig whose notifications are declared.
func newRigWith(t *testing.T, settings *notify.Settings, roles trail.Roles) *rig {
	t.Helper()
	r := &rig{t: t, bucket: &bucket{policies: map[string]string{"logs": openPolicy}, puts: map[string]int{}, bodies: map[string][]byte{}}, asked: &asked{}}
	var err error
	if r.store, err = kv.Open("store", kv.Options{FS: vfs.NewMem()}); err != nil {
		t.Fatal(err)
	}
	if r.jr, err = journal.Open(r.store, quiet); err != nil {
		t.Fatal(err)
	}
	note, err := notify.Open(notify.Config{Settings: settings, Store: r.store, Commit: r.jr, Log: quiet, Now: time.Now, SNS: &notify.SNSKey{}})
	if err != nil {
		t.Fatal(err)
	}
	r.trails, err = trail.Open(trail.Config{Notify: note, Roles: roles, Store: r.store, Journal: r.jr, Bucket: r.bucket, Sealer: sealer{}, Log: quiet, Now: time.Now,
		DeliveryInterval: time.Millisecond, DigestInterval: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	r.files = &files{objects: map[string][]byte{}}
	if r.lake, err = lake.Open(lake.Config{Store: r.store, Journal: r.jr, Source: r.files, Bucket: r.bucket, Sign: r.trails.SignText, Text: athena.Text, Log: quiet, Engine: duckdb.New(duckdb.Config{MemoryMB: 256, Threads: 2, TempDir: t.TempDir()}), Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	hist, err := history.Open(history.Config{Store: r.store, Journal: r.jr, Log: quiet, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	rates, err := insights.Open(insights.Config{Store: r.store, Journal: r.jr, Trails: r.trails, Lake: r.lake, Params: insights.Defaults(), Log: quiet, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := glue.Open(r.store)
	if err != nil {
		t.Fatal(err)
	}
	conf := Config{Store: r.store, Trails: r.trails, Lake: r.lake, History: hist, Insights: rates, Bucket: r.bucket, Buckets: r.bucket, Catalog: catalog}
	path := &call.Path{Auth: r.asked, Selector: call.Selectors{r.trails, r.lake}, Wants: r.lake, Journal: r.jr, Store: r.store, Now: time.Now, Log: quiet}
	r.conf, r.path = conf, path
	h, err := awshttp.NewHandler(awshttp.Config{Path: path, Auth: anyone{}, Log: quiet, Region: region, Account: account, S3: http.NotFoundHandler(),
		Services: []*call.Service{Service(conf), DataService(conf)}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, run := range []func(context.Context) error{r.trails.Run, hist.Run, r.lake.Run, r.lake.RunImports, r.lake.RunQueries, rates.Run} {
		wg.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		srv.Close()
		cancel()
		wg.Wait()
		if err := errors.Join(r.jr.Close(), r.store.Close()); err != nil {
			t.Error(err)
		}
	})
	r.url = srv.URL
	return r
}

func (r *rig) client(region string) *sdk.Client {
	return sdk.New(sdk.Options{Region: region, BaseEndpoint: &r.url, RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider("AKIAROOT", "secret", "")})
}

// code is an error's AWS code, "" for nil.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func create(name string) *sdk.CreateTrailInput {
	return &sdk.CreateTrailInput{Name: &name, S3BucketName: new("logs"), EnableLogFileValidation: new(true)}
}

// TestLife is a trail from creation to deletion through AWS's own client.
func TestLife(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	out, err := c.CreateTrail(ctx, create("audit"))
	if err != nil {
		t.Fatal(err)
	}
	if *out.TrailARN != audit || !*out.LogFileValidationEnabled || !*out.IncludeGlobalServiceEvents || *out.IsMultiRegionTrail {
		t.Errorf("created %+v", out)
	}
	st, err := c.GetTrailStatus(ctx, &sdk.GetTrailStatusInput{Name: new("audit")})
	if err != nil || *st.IsLogging || st.StartLoggingTime != nil || *st.TimeLoggingStarted != "" {
		t.Errorf("status %+v, %v", st, err)
	}
	if _, err := c.StartLogging(ctx, &sdk.StartLoggingInput{Name: new(audit)}); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool {
		st, err = c.GetTrailStatus(ctx, &sdk.GetTrailStatusInput{Name: new("audit")})
		return err == nil && *st.IsLogging && st.LatestDeliveryTime != nil && st.StartLoggingTime != nil
	})
	up, err := c.UpdateTrail(ctx, &sdk.UpdateTrailInput{Name: new("audit"), IsMultiRegionTrail: new(true)})
	if err != nil || !*up.IsMultiRegionTrail || *up.S3BucketName != "logs" {
		t.Errorf("updated %+v, %v", up, err)
	}
	other := r.client("eu-west-1")
	d, err := other.DescribeTrails(ctx, &sdk.DescribeTrailsInput{})
	if err != nil || len(d.TrailList) != 1 || *d.TrailList[0].TrailARN != audit || *d.TrailList[0].HomeRegion != region {
		t.Errorf("the shadow is %+v, %v", d, err)
	}
	if d, err = other.DescribeTrails(ctx, &sdk.DescribeTrailsInput{IncludeShadowTrails: new(false)}); err != nil || len(d.TrailList) != 0 {
		t.Errorf("without shadows %+v, %v", d, err)
	}
	if _, err := other.StopLogging(ctx, &sdk.StopLoggingInput{Name: new(audit)}); code(err) != "InvalidHomeRegionException" {
		t.Errorf("stopped from elsewhere: %v", err)
	}
	l, err := other.ListTrails(ctx, &sdk.ListTrailsInput{})
	if err != nil || len(l.Trails) != 1 || *l.Trails[0].Name != "audit" {
		t.Errorf("listed %+v, %v", l, err)
	}
	if _, err := c.StopLogging(ctx, &sdk.StopLoggingInput{Name: new("audit")}); err != nil {
		t.Fatal(err)
	}
	until(t, func() bool { // the final digest, which brings the key
		keys, err := c.ListPublicKeys(ctx, &sdk.ListPublicKeysInput{})
		return err == nil && len(keys.PublicKeyList) == 1
	})
	if _, err := c.DeleteTrail(ctx, &sdk.DeleteTrailInput{Name: new("audit")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetTrail(ctx, &sdk.GetTrailInput{Name: new("audit")}); code(err) != "TrailNotFoundException" || !strings.Contains(err.Error(), "Unknown trail: "+audit) {
		t.Errorf("a deleted trail: %v", err)
	}
	ev, err := c.LookupEvents(ctx, &sdk.LookupEventsInput{LookupAttributes: []types.LookupAttribute{{AttributeKey: types.LookupAttributeKeyReadOnly, AttributeValue: new("false")}}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range ev.Events {
		names = append(names, *e.EventName)
		if *e.Username != "root" || *e.EventSource != "cloudtrail.amazonaws.com" || *e.ReadOnly != "false" || !strings.Contains(*e.CloudTrailEvent, `"eventVersion":"1.11"`) {
			t.Errorf("event %+v", e)
		}
	}
	if d := cmp.Diff([]string{"DeleteTrail", "StopLogging", "UpdateTrail", "StartLogging", "CreateTrail"}, names); d != "" {
		t.Error(d)
	}
	last := ev.Events[len(ev.Events)-1]
	if d := cmp.Diff([]string{audit, "audit"}, []string{*last.Resources[0].ResourceName, *last.Resources[1].ResourceName}); d != "" {
		t.Error(d)
	}
}

func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("timed out")
		}
	}
}

// TestErrors: what bad input gets.
func TestErrors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	if _, err := c.CreateTrail(ctx, create("audit")); err != nil {
		t.Fatal(err)
	}
	made := func(change func(in *sdk.CreateTrailInput)) error {
		in := create("another")
		change(in)
		_, err := c.CreateTrail(ctx, in)
		return err
	}
	r.bucket.policies["bare"] = ""
	r.bucket.policies["half"] = strings.ReplaceAll(strings.Replace(openPolicy, `"s3:GetBucketAcl",`, "", 1), "logs", "half")
	tests := []struct {
		name string
		err  error
		code string
		text string
	}{
		{"twice", made(func(in *sdk.CreateTrailInput) { in.Name = new("audit") }), "TrailAlreadyExistsException", "Trail audit already exists for customer: " + account},
		{"short name", made(func(in *sdk.CreateTrailInput) { in.Name = new("ab") }), "InvalidTrailNameException", "too short"},
		{"adjacent", made(func(in *sdk.CreateTrailInput) { in.Name = new("a--b") }), "InvalidTrailNameException", "adjacent"},
		{"address", made(func(in *sdk.CreateTrailInput) { in.Name = new("192.168.5.4") }), "InvalidTrailNameException", "IP address"},
		{"no bucket", made(func(in *sdk.CreateTrailInput) { in.S3BucketName = new("absent") }), "S3BucketDoesNotExistException", "absent"},
		{"bucket name", made(func(in *sdk.CreateTrailInput) { in.S3BucketName = new("B") }), "InvalidS3BucketNameException", ""},
		{"bare bucket", made(func(in *sdk.CreateTrailInput) { in.S3BucketName = new("bare") }), "InsufficientS3BucketPolicyException", "Incorrect S3 bucket policy is detected for bucket: bare"},
		{"half a policy", made(func(in *sdk.CreateTrailInput) { in.S3BucketName = new("half") }), "InsufficientS3BucketPolicyException", "needs s3:GetBucketAcl on arn:aws:s3:::half"},
		{"prefix", made(func(in *sdk.CreateTrailInput) { in.S3KeyPrefix = new(strings.Repeat("x", 201)) }), "InvalidS3PrefixException", ""},
		{"prefix of a step up", made(func(in *sdk.CreateTrailInput) { in.S3KeyPrefix = new("a/../../b") }), "InvalidS3PrefixException", ""},
		{"prefix of a period", made(func(in *sdk.CreateTrailInput) { in.S3KeyPrefix = new(".") }), "InvalidS3PrefixException", ""},
		{"prefix slash", made(func(in *sdk.CreateTrailInput) { in.S3KeyPrefix = new("a/") }), "InvalidS3PrefixException", ""},
		{"topic", made(func(in *sdk.CreateTrailInput) { in.SnsTopicName = new("t") }), "InsufficientSnsTopicPolicyException", ""},
		{"key", made(func(in *sdk.CreateTrailInput) { in.KmsKeyId = new("alias/k") }), "KmsKeyNotFoundException", ""},
		{"log group", made(func(in *sdk.CreateTrailInput) {
			in.CloudWatchLogsLogGroupArn, in.CloudWatchLogsRoleArn = new("arn:x"), new("arn:y")
		}), "InvalidCloudWatchLogsLogGroupArnException", ""},
		{"organization", made(func(in *sdk.CreateTrailInput) { in.IsOrganizationTrail = new(true) }), "OrganizationsNotInUseException", ""},
		{"no global events", made(func(in *sdk.CreateTrailInput) {
			in.IsMultiRegionTrail, in.IncludeGlobalServiceEvents = new(true), new(false)
		}), "InvalidParameterCombinationException", ""},
		{"tag", made(func(in *sdk.CreateTrailInput) { in.TagsList = []types.Tag{{Key: new("aws:x")}} }), "InvalidTagParameterException", ""},
	}
	_, err := c.GetTrail(ctx, &sdk.GetTrailInput{Name: new("nosuch")})
	tests = append(tests, struct {
		name string
		err  error
		code string
		text string
	}{"no trail", err, "TrailNotFoundException", "for the user: " + account})
	add := func(name string, err error, code, text string) {
		tests = append(tests, struct {
			name string
			err  error
			code string
			text string
		}{name, err, code, text})
	}
	_, err = c.StartLogging(ctx, &sdk.StartLoggingInput{Name: new("arn:aws:s3:::x")})
	add("ARN", err, "CloudTrailARNInvalidException", "")
	_, err = c.LookupEvents(ctx, &sdk.LookupEventsInput{MaxResults: new(int32(51))})
	add("page size", err, "InvalidMaxResultsException", "maxResults")
	_, err = c.LookupEvents(ctx, &sdk.LookupEventsInput{NextToken: new("x")})
	add("token", err, "InvalidNextTokenException", "")
	_, err = c.LookupEvents(ctx, &sdk.LookupEventsInput{StartTime: new(time.Unix(2, 0)), EndTime: new(time.Unix(1, 0))})
	add("time range", err, "InvalidTimeRangeException", "")
	_, err = c.LookupEvents(ctx, &sdk.LookupEventsInput{LookupAttributes: []types.LookupAttribute{
		{AttributeKey: "EventId", AttributeValue: new("a")}, {AttributeKey: "EventName", AttributeValue: new("b")}}})
	add("two attributes", err, "InvalidLookupAttributesException", "")
	_, err = c.LookupEvents(ctx, &sdk.LookupEventsInput{LookupAttributes: []types.LookupAttribute{{AttributeKey: "Colour", AttributeValue: new("a")}}})
	add("unknown attribute", err, "InvalidLookupAttributesException", "")
	_, err = c.ListPublicKeys(ctx, &sdk.ListPublicKeysInput{StartTime: new(time.Unix(2, 0)), EndTime: new(time.Unix(1, 0))})
	add("keys", err, "InvalidTimeRangeException", "")
	_, err = c.GetInsightSelectors(ctx, &sdk.GetInsightSelectorsInput{TrailName: new("audit")})
	add("insights", err, "InsightNotEnabledException", "")
	_, err = c.StartQuery(ctx, &sdk.StartQueryInput{QueryStatement: new("SELECT 1")})
	add("no store", err, "InvalidQueryStatementException", "reads no event data store")
	_, err = c.GetEventDataStore(ctx, &sdk.GetEventDataStoreInput{EventDataStore: new("123e4567-e89b-12d3-a456-426614174000")})
	add("no store", err, "EventDataStoreNotFoundException", "")
	_, err = c.RegisterOrganizationDelegatedAdmin(ctx, &sdk.RegisterOrganizationDelegatedAdminInput{MemberAccountId: new(account)})
	add("organizations", err, "OrganizationsNotInUseException", "")
	_, err = c.AddTags(ctx, &sdk.AddTagsInput{ResourceId: new(strings.Replace(audit, "audit", "absent", 1)), TagsList: []types.Tag{{Key: new("k")}}})
	add("tags of nothing", err, "ResourceNotFoundException", "")
	for _, tt := range tests {
		if code(tt.err) != tt.code || !strings.Contains(tt.err.Error(), tt.text) {
			t.Errorf("%s: %v, want %s with %q", tt.name, tt.err, tt.code, tt.text)
		}
	}
	for i, name := range []string{"t-1", "t-2", "t-3", "t-4", "t-5"} {
		_, err := c.CreateTrail(ctx, create(name))
		if want := map[bool]string{true: "MaximumNumberOfTrailsExceededException"}[i == 4]; code(err) != want {
			t.Errorf("trail %d: %v", i+2, err)
		}
	}
}

func TestTags(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	in := create("audit")
	in.TagsList = []types.Tag{{Key: new("a"), Value: new("1")}, {Key: new("b")}}
	if _, err := c.CreateTrail(ctx, in); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AddTags(ctx, &sdk.AddTagsInput{ResourceId: new(audit), TagsList: []types.Tag{{Key: new("a"), Value: new("2")}, {Key: new("c"), Value: new("3")}}}); err != nil {
		t.Fatal(err)
	}
	if p := r.asked.perms[0]; p.Resource != audit || p.Context["aws:requesttag/c"][0] != "3" {
		t.Errorf("permission %+v", p)
	}
	if _, err := c.RemoveTags(ctx, &sdk.RemoveTagsInput{ResourceId: new(audit), TagsList: []types.Tag{{Key: new("b")}}}); err != nil {
		t.Fatal(err)
	}
	out, err := c.ListTags(ctx, &sdk.ListTagsInput{ResourceIdList: []string{audit}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, x := range out.ResourceTagList[0].TagsList {
		got[*x.Key] = awssdk.ToString(x.Value)
	}
	if d := cmp.Diff(map[string]string{"a": "2", "c": "3"}, got); d != "" {
		t.Error(d)
	}
	var many []types.Tag
	for i := range 49 {
		many = append(many, types.Tag{Key: new(strings.Repeat("k", i+2))})
	}
	if _, err := c.AddTags(ctx, &sdk.AddTagsInput{ResourceId: new(audit), TagsList: many}); code(err) != "TagsLimitExceededException" {
		t.Errorf("51 tags: %v", err)
	}
}

func field(name string, equals ...string) types.AdvancedFieldSelector {
	return types.AdvancedFieldSelector{Field: &name, Equals: equals}
}

// TestSelectors: what PutEventSelectors takes, GetEventSelectors gives back,
// and calls see at once.
func TestSelectors(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, c := t.Context(), r.client(region)
	if _, err := c.CreateTrail(ctx, create("audit")); err != nil {
		t.Fatal(err)
	}
	get := func() *sdk.GetEventSelectorsOutput {
		out, err := c.GetEventSelectors(ctx, &sdk.GetEventSelectorsInput{TrailName: new("audit")})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if def := get().EventSelectors; len(def) != 1 || def[0].ReadWriteType != "All" || !*def[0].IncludeManagementEvents {
		t.Errorf("the default is %+v", def)
	}
	basic := func(b types.EventSelector) error {
		_, err := c.PutEventSelectors(ctx, &sdk.PutEventSelectorsInput{TrailName: new("audit"), EventSelectors: []types.EventSelector{b}})
		return err
	}
	advanced := func(f ...types.AdvancedFieldSelector) error {
		_, err := c.PutEventSelectors(ctx, &sdk.PutEventSelectorsInput{TrailName: new("audit"), AdvancedEventSelectors: []types.AdvancedEventSelector{{FieldSelectors: f}}})
		return err
	}
	data := func(typ string, values ...string) types.EventSelector {
		return types.EventSelector{DataResources: []types.DataResource{{Type: &typ, Values: values}}}
	}
	mgmt, dat, net := field("eventCategory", "Management"), field("eventCategory", "Data"), field("eventCategory", "NetworkActivity")
	objects := field("resources.type", "AWS::S3::Object")
	not := func(name string, v ...string) types.AdvancedFieldSelector {
		return types.AdvancedFieldSelector{Field: &name, NotEquals: v}
	}
	var many []string
	for range 251 {
		many = append(many, "arn:aws:s3:::b/")
	}
	for _, tt := range []struct {
		name string
		err  error
		ok   bool
	}{
		{"S3", basic(data("AWS::S3::Object", "arn:aws:s3", "arn:aws:s3:::", "arn:aws:s3:::b/", "arn:aws:s3:::b/k")), true},
		{"Lambda", basic(data("AWS::Lambda::Function", "arn:aws:lambda")), true},
		{"a bucket without slash", basic(data("AWS::S3::Object", "arn:aws:s3:::b")), false},
		{"another service's ARN", basic(data("AWS::S3::Object", "arn:aws:lambda")), false},
		{"a type of advanced selectors", basic(data("AWS::Cassandra::Table", "arn:aws:cassandra")), false},
		{"no values", basic(data("AWS::S3::Object")), false},
		{"too many values", basic(data("AWS::S3::Object", many...)), false},
		{"nothing", basic(types.EventSelector{IncludeManagementEvents: new(false)}), false},
		{"exclusions", basic(types.EventSelector{ExcludeManagementEventSources: []string{"kms.amazonaws.com"}}), true},
		{"another exclusion", basic(types.EventSelector{ExcludeManagementEventSources: []string{"s3.amazonaws.com"}}), false},
		{"read or write", basic(types.EventSelector{ReadWriteType: "Sometimes"}), false},
		{"management", advanced(mgmt, field("readOnly", "true")), true},
		{"without a category", advanced(field("readOnly", "true")), false},
		{"two categories", advanced(field("eventCategory", "Management", "Data")), false},
		{"unknown category", advanced(field("eventCategory", "Insight")), false},
		{"a field twice", advanced(mgmt, mgmt), false},
		{"management by name", advanced(mgmt, field("eventName", "X")), false},
		{"without KMS", advanced(mgmt, not("eventSource", "kms.amazonaws.com")), true},
		{"without S3", advanced(mgmt, not("eventSource", "s3.amazonaws.com")), false},
		{"readOnly, not", advanced(mgmt, not("readOnly", "true")), false},
		{"readOnly, perhaps", advanced(mgmt, field("readOnly", "perhaps")), false},
		{"network", advanced(net, field("eventSource", "kms.amazonaws.com"), field("errorCode", "VpceAccessDenied")), true},
		{"network error", advanced(net, field("eventSource", "kms.amazonaws.com"), field("errorCode", "AccessDenied")), false},
		{"network, no source", advanced(net), false},
		{"data, no type", advanced(dat), false},
		{"data, two types", advanced(dat, field("resources.type", "A", "B")), false},
		{"no operator", advanced(mgmt, types.AdvancedFieldSelector{Field: new("readOnly")}), false},
		{"data", advanced(dat, objects, types.AdvancedFieldSelector{Field: new("resources.ARN"), StartsWith: []string{"arn:aws:s3:::b/"}, NotEndsWith: []string{".tmp"}}), true},
	} {
		if want := map[bool]string{false: "InvalidEventSelectorsException"}[tt.ok]; code(tt.err) != want {
			t.Errorf("%s: %v", tt.name, tt.err)
		}
	}
	if _, err := c.PutEventSelectors(ctx, &sdk.PutEventSelectorsInput{TrailName: new("audit")}); code(err) != "InvalidEventSelectorsException" {
		t.Errorf("no selectors: %v", err)
	}
	got := get()
	if len(got.EventSelectors) != 0 || len(got.AdvancedEventSelectors) != 1 || got.AdvancedEventSelectors[0].FieldSelectors[2].NotEndsWith[0] != ".tmp" {
		t.Errorf("selectors %+v", got)
	}
	event := &record.Record{Category: record.Data, AccountID: account, Region: region, EventSource: "s3.amazonaws.com",
		Resources: []record.Resource{{Type: "AWS::S3::Object", ARN: "arn:aws:s3:::b/k"}}}
	if r.trails.AnyData() || r.trails.Selects(event) {
		t.Error("a trail that does not log selects")
	}
	before := r.trails.Version()
	if _, err := c.StartLogging(ctx, &sdk.StartLoggingInput{Name: new("audit")}); err != nil {
		t.Fatal(err)
	}
	if r.trails.Version() == before || !r.trails.AnyData() || !r.trails.Selects(event) {
		t.Error("the selectors do not hold once StartLogging is answered")
	}
	event.Resources[0].ARN += ".tmp"
	if r.trails.Selects(event) {
		t.Error("an excluded object is selected")
	}
}

// TestOperations: each of AWS's operations is either offered or refused.
func TestOperations(t *testing.T) {
	t.Parallel()
	m, err := model.Load("cloudtrail")
	if err != nil {
		t.Fatal(err)
	}
	s := Service(Config{})
	have := map[string]int{}
	for _, o := range s.Operations {
		have[o.Name]++
	}
	for _, n := range s.Refused {
		have[n]++
	}
	for _, n := range m.Operations() {
		if have[n] != 1 {
			t.Errorf("%s is there %d times", n, have[n])
		}
		delete(have, n)
	}
	if len(have) > 0 {
		t.Errorf("AWS does not know %v", have)
	}
}
