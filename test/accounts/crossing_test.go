package accounts

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
)

func codeOf(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	return fmt.Sprint(err)
}

// selecting is one selector of a category.
func selecting(category string) []types.AdvancedEventSelector {
	return []types.AdvancedEventSelector{{FieldSelectors: []types.AdvancedFieldSelector{{Field: new("eventCategory"), Equals: []string{category}}}}}
}

// TestNothingCrosses: CloudTrail reads nothing of another account and writes
// nothing into it for a caller whom that account's policies do not let in.
func TestNothingCrosses(t *testing.T) {
	t.Parallel()
	srv, admin := start(t)
	ctx := t.Context()
	r, b := srv.AWS(admin[red]), srv.AWS(admin[blue])
	store := func(c *cloudtrail.Client, name, category string) string {
		t.Helper()
		out := of(c.CreateEventDataStore(ctx, &cloudtrail.CreateEventDataStoreInput{Name: &name, AdvancedEventSelectors: selecting(category)}))(t)
		return *out.EventDataStoreArn
	}
	role := *of(b.IAM.CreateRole(ctx, &iam.CreateRoleInput{RoleName: new("import"), AssumeRolePolicyDocument: new(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)}))(t).Role.Arn

	of(b.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: new("import"), PolicyName: new("read"), PolicyDocument: new(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":["arn:aws:s3:::reds-logs","arn:aws:s3:::reds-logs/*"]}]}`)}))(t)

	// Import from a bucket.
	of(r.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: new("reds-logs")}))(t)
	mine := store(b.CloudTrail, "mine", "Management")
	begin := &cloudtrail.StartImportInput{Destinations: []string{mine}, ImportSource: &types.ImportSource{S3: &types.S3ImportSource{
		S3LocationUri: new("s3://reds-logs/AWSLogs/"), S3BucketRegion: new("us-east-1"), S3BucketAccessRoleArn: &role}}}
	if _, err := b.CloudTrail.StartImport(ctx, begin); codeOf(err) != "AccessDeniedException" {
		t.Errorf("an import from another account's bucket: %v", err)
	}
	allow := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"%s"},"Action":["s3:ListBucket","s3:GetBucketAcl","s3:GetObject"],
		"Resource":["arn:aws:s3:::reds-logs","arn:aws:s3:::reds-logs/*"]}]}`, blue)
	of(r.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: new("reds-logs"), Policy: &allow}))(t)
	going := of(b.CloudTrail.StartImport(ctx, begin))(t)
	of(r.S3.DeleteBucketPolicy(ctx, &s3.DeleteBucketPolicyInput{Bucket: new("reds-logs")}))(t)
	if _, err := b.CloudTrail.StartImport(ctx, &cloudtrail.StartImportInput{ImportId: going.ImportId}); codeOf(err) != "AccessDeniedException" {
		t.Errorf("an import that goes on in a bucket that is closed by now: %v", err)
	}

	// A channel and insights into a store.
	hers, own := store(r.CloudTrail, "hers", "ActivityAuditLog"), store(b.CloudTrail, "own", "ActivityAuditLog")
	to := func(arn string) []types.Destination {
		return []types.Destination{{Type: types.DestinationTypeEventDataStore, Location: &arn}}
	}
	channel := *of(b.CloudTrail.CreateChannel(ctx, &cloudtrail.CreateChannelInput{Name: new("way"), Source: new("Custom"), Destinations: to(own)}))(t).ChannelArn
	if _, err := b.CloudTrail.UpdateChannel(ctx, &cloudtrail.UpdateChannelInput{Channel: &channel, Destinations: to(hers)}); codeOf(err) != "AccessDeniedException" {
		t.Errorf("a channel into another account's store: %v", err)
	}
	of(b.CloudTrail.UpdateChannel(ctx, &cloudtrail.UpdateChannelInput{Channel: &channel, Destinations: to(own)}))(t)
	insights := store(r.CloudTrail, "insights", "Insight")
	if _, err := b.CloudTrail.PutInsightSelectors(ctx, &cloudtrail.PutInsightSelectorsInput{EventDataStore: &mine, InsightsDestination: &insights,
		InsightSelectors: []types.InsightSelector{{InsightType: types.InsightTypeApiCallRateInsight}}}); codeOf(err) != "AccessDeniedException" {
		t.Errorf("insights into another account's store: %v", err)
	}

	// A resource has one ARN, which a policy may deny.
	name := "denied"
	of(b.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}))(t)
	of(b.IAM.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: &name, PolicyDocument: new(fmt.Sprintf(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"cloudtrail:*","Resource":"*"},{"Effect":"Deny","Action":"cloudtrail:*","Resource":"%s"}]}`, channel))}))(t)
	key := of(b.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name}))(t).AccessKey
	denied := admin[blue]
	denied.AccessKeyID, denied.SecretAccessKey = *key.AccessKeyId, *key.SecretAccessKey
	for arn, want := range map[string]string{channel: "AccessDeniedException", strings.Replace(channel, "arn:aws:", "arn:aws-cn:", 1): "ChannelARNInvalidException",
		strings.Replace(channel, "arn:aws:", "arn::", 1): "ChannelARNInvalidException"} {
		if _, err := srv.AWS(denied).CloudTrail.GetChannel(ctx, &cloudtrail.GetChannelInput{Channel: &arn}); codeOf(err) != want {
			t.Errorf("GetChannel %s: %v, want %s", arn, err, want)
		}
	}
}

// TestImportObjects: a Deny under the prefix of an import holds for each object,
// be it against who imports or against the import's role.
func TestImportObjects(t *testing.T) {
	t.Parallel()
	srv, admin := start(t)
	ctx := t.Context()
	b := srv.AWS(admin[blue])
	store := *of(b.CloudTrail.CreateEventDataStore(ctx, &cloudtrail.CreateEventDataStoreInput{Name: new("mine"), AdvancedEventSelectors: selecting("Management")}))(t).EventDataStoreArn
	role := *of(b.IAM.CreateRole(ctx, &iam.CreateRoleInput{RoleName: new("import"), AssumeRolePolicyDocument: new(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"cloudtrail.amazonaws.com"},"Action":"sts:AssumeRole"}]}`)}))(t).Role.Arn
	of(b.IAM.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: new("import"), PolicyName: new("read"), PolicyDocument: new(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"s3:*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::old-logs/AWSLogs/b/*"}]}`)}))(t)
	name := "importing"
	of(b.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}))(t)
	of(b.IAM.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: &name, PolicyDocument: new(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::old-logs/AWSLogs/c/*"}]}`)}))(t)
	key := of(b.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name}))(t).AccessKey
	user := admin[blue]
	user.AccessKeyID, user.SecretAccessKey = *key.AccessKeyId, *key.SecretAccessKey

	of(b.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: new("old-logs")}))(t)
	for _, dir := range []string{"a", "b", "c"} {
		var file bytes.Buffer
		z := gzip.NewWriter(&file)
		_, err := fmt.Fprintf(z, `{"Records":[{"eventTime":"2020-01-01T10:00:00Z","eventID":"%[1]s","eventName":"%[1]s"}]}`, dir)
		if err := errors.Join(err, z.Close()); err != nil {
			t.Fatal(err)
		}
		of(b.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: new("old-logs"), Key: new("AWSLogs/" + dir + "/x.json.gz"), Body: bytes.NewReader(file.Bytes())}))(t)
	}
	c := srv.AWS(user).CloudTrail
	id := of(c.StartImport(ctx, &cloudtrail.StartImportInput{Destinations: []string{store}, ImportSource: &types.ImportSource{S3: &types.S3ImportSource{
		S3LocationUri: new("s3://old-logs/AWSLogs/"), S3BucketRegion: new("us-east-1"), S3BucketAccessRoleArn: &role}}}))(t).ImportId
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	var got *cloudtrail.GetImportOutput
	for got == nil || got.ImportStatus == types.ImportStatusInitializing || got.ImportStatus == types.ImportStatusInProgress {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the import does not end")
		}
		got = of(c.GetImport(ctx, &cloudtrail.GetImportInput{ImportId: id}))(t)
	}
	if st := got.ImportStatistics; got.ImportStatus != types.ImportStatusFailed || *st.FilesCompleted != 1 || *st.EventsCompleted != 1 || *st.FailedEntries != 2 {
		t.Errorf("%s, %+v", got.ImportStatus, st)
	}
	failures := of(c.ListImportFailures(ctx, &cloudtrail.ListImportFailuresInput{ImportId: id}))(t).Failures
	for n, dir := range []string{"b", "c"} {
		if n >= len(failures) || *failures[n].Location != "s3://old-logs/AWSLogs/"+dir+"/x.json.gz" || *failures[n].ErrorType != "AccessDenied" {
			t.Fatalf("failures %+v", failures)
		}
	}
}
