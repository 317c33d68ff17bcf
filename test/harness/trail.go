package harness

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	cttypes "github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// deliveryTimeout bounds the wait for a stopped trail's last files.
const deliveryTimeout = 2 * time.Minute

// Management selects all management events.
func Management() cttypes.AdvancedEventSelector {
	return cttypes.AdvancedEventSelector{FieldSelectors: []cttypes.AdvancedFieldSelector{
		{Field: aws.String("eventCategory"), Equals: []string{"Management"}}}}
}

// Data selects the data events of a resource type, below an ARN when one is
// given.
func Data(typ, arnPrefix string) cttypes.AdvancedEventSelector {
	f := []cttypes.AdvancedFieldSelector{
		{Field: aws.String("eventCategory"), Equals: []string{"Data"}},
		{Field: aws.String("resources.type"), Equals: []string{typ}}}
	if arnPrefix != "" {
		f = append(f, cttypes.AdvancedFieldSelector{Field: aws.String("resources.ARN"), StartsWith: []string{arnPrefix}})
	}
	return cttypes.AdvancedEventSelector{FieldSelectors: f}
}

// StartTrail makes a bucket and a trail of the same name that delivers to it,
// and starts logging.
func StartTrail(t testing.TB, srv *Server, name string, multiRegion bool, selectors ...cttypes.AdvancedEventSelector) {
	t.Helper()
	StartTrailAs(t, srv, &cloudtrail.CreateTrailInput{Name: &name, IsMultiRegionTrail: &multiRegion}, selectors...)
}

// StartTrailAs is StartTrail for a trail with further settings. Its bucket and
// what every trail of a test has are added.
func StartTrailAs(t testing.TB, srv *Server, in *cloudtrail.CreateTrailInput, selectors ...cttypes.AdvancedEventSelector) {
	t.Helper()
	name := *in.Name
	in.S3BucketName, in.IncludeGlobalServiceEvents, in.EnableLogFileValidation = in.Name, aws.Bool(true), aws.Bool(true)
	ctx, c := t.Context(), srv.AWS(srv.Profiles["admin"])
	check := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}))
	check(c.S3.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &name, Policy: aws.String(TrailPolicy(name, srv.Account))}))
	check(c.CloudTrail.CreateTrail(ctx, in))
	check(c.CloudTrail.PutEventSelectors(ctx, &cloudtrail.PutEventSelectorsInput{TrailName: &name, AdvancedEventSelectors: selectors}))
	check(c.CloudTrail.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: &name}))
}

// StopTrail stops the trail, waits for its final digest and returns every
// record it delivered, in the order of the log files' names.
func StopTrail(t testing.TB, srv *Server, name string) []json.RawMessage {
	t.Helper()
	EndTrail(t, srv, name)
	ctx, c := t.Context(), srv.AWS(srv.Profiles["admin"])
	var out []json.RawMessage
	pages := s3.NewListObjectsV2Paginator(c.S3, &s3.ListObjectsV2Input{Bucket: &name, Prefix: aws.String("AWSLogs/" + srv.Account + "/CloudTrail/")})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			records, err := readLog(ctx, c, name, *o.Key)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, records...)
		}
	}
	return out
}

// EndTrail stops the trail and waits for its final digest.
func EndTrail(t testing.TB, srv *Server, name string) {
	t.Helper()
	ctx, c := t.Context(), srv.AWS(srv.Profiles["admin"])
	if _, err := c.CloudTrail.StopLogging(ctx, &cloudtrail.StopLoggingInput{Name: &name}); err != nil {
		t.Fatal(err)
	}
	stopped := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		st, err := c.CloudTrail.GetTrailStatus(ctx, &cloudtrail.GetTrailStatusInput{Name: &name})
		if err != nil {
			t.Fatal(err)
		}
		// The wire carries whole seconds or milliseconds; a second of slack is
		// safe because the digest's time is the stop's.
		if st.LatestDigestDeliveryTime != nil && st.LatestDigestDeliveryTime.After(stopped.Add(-time.Second)) {
			break
		}
		if time.Since(stopped) > deliveryTimeout {
			t.Fatalf("no final digest %s after StopLogging; delivery error %q, digest error %q", deliveryTimeout,
				aws.ToString(st.LatestDeliveryError), aws.ToString(st.LatestDigestDeliveryError))
		}
		<-tick.C
	}
}

func readLog(ctx context.Context, c Clients, bucket, key string) ([]json.RawMessage, error) {
	obj, err := c.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return nil, err
	}
	defer obj.Body.Close()
	raw, err := io.ReadAll(obj.Body)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	var file struct{ Records []json.RawMessage }
	if err := json.NewDecoder(z).Decode(&file); err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return file.Records, nil
}
