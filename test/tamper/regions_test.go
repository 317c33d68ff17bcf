package tamper

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	"spoor/internal/verify"
	"spoor/test/harness"
)

// TestRegionsOfOldAndOthers: over the APIs a trail is clean that shares its
// bucket with one of all regions; and so is that one, when it goes back to one
// region and when it is deleted.
func TestRegionsOfOldAndOthers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	t.Parallel()
	srv := harness.Start(t, "--delivery-interval", "1s", "--digest-interval", "10s")
	ctx := t.Context()
	c, eu := srv.AWS(srv.Profiles["admin"]), srv.AWSIn(srv.Profiles["admin"], "eu-west-1")
	const all, one = "all", "one"
	harness.StartTrail(t, srv, all, true, harness.Management())
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.CloudTrail.CreateTrail(ctx, &cloudtrail.CreateTrailInput{Name: new(one), S3BucketName: new(all), EnableLogFileValidation: new(true)})
	check(err)
	_, err = c.CloudTrail.StartLogging(ctx, &cloudtrail.StartLoggingInput{Name: new(one)})
	check(err)
	_, err = eu.CloudTrail.DescribeTrails(ctx, &cloudtrail.DescribeTrailsInput{})
	check(err)
	_, err = c.IAM.ListUsers(ctx, &iam.ListUsersInput{})
	check(err)
	harness.EndTrail(t, srv, one)
	harness.EndTrail(t, srv, all)
	clean := func(when, name string) {
		t.Helper()
		arn := "arn:aws:cloudtrail:us-east-1:" + srv.Account + ":trail/" + name
		if out, code, err := srv.Spoor(ctx, "verify", "--trail-arn", arn, "--bucket", all); err != nil || code != verify.ExitClean {
			t.Errorf("%s: %v, exit %d\n%s", when, err, code, out)
		}
	}
	clean("beside a trail of all regions", one)
	clean("of all regions", all)
	_, err = c.CloudTrail.UpdateTrail(ctx, &cloudtrail.UpdateTrailInput{Name: new(all), IsMultiRegionTrail: new(false)})
	check(err)
	clean("of one region by now", all)
	_, err = c.CloudTrail.DeleteTrail(ctx, &cloudtrail.DeleteTrailInput{Name: new(all)})
	check(err)
	clean("deleted", all)
}
