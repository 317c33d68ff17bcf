package cloudtrail

import (
	"path/filepath"
	"strings"
	"testing"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/google/go-cmp/cmp"

	"spoor/internal/notify"
	"spoor/internal/trail"
)

const (
	topicARN1 = "arn:aws:sns:us-east-1:123456789012:trail-topic"
	groupARN  = "arn:aws:logs:us-east-1:123456789012:log-group:ct:*"
	goodRole  = "arn:aws:iam::123456789012:role/good"
	shutRole  = "arn:aws:iam::123456789012:role/untrusting"
	poorRole  = "arn:aws:iam::123456789012:role/without-permissions"
)

// roles are three: see their names.
type roles struct{}

func (roles) MayAssume(role, trailARN, acct string) (bool, error) {
	return role != shutRole && trailARN == audit && acct == account, nil
}

func (roles) May(role string, use trail.RoleUse) (bool, error) {
	return role == goodRole && use.Resource == "arn:aws:logs:us-east-1:123456789012:log-group:ct:log-stream:123456789012_CloudTrail_us-east-1", nil
}

func notifyRig(t *testing.T) *rig {
	t.Helper()
	return newRigWith(t, &notify.Settings{
		Topics: []notify.Topic{{ARN: topicARN1, Endpoint: "http://127.0.0.1:1/"},
			{ARN: "arn:aws:sns:us-east-1:999999999999:trail-topic", Endpoint: "http://127.0.0.1:1/"}},
		LogGroups: []notify.LogGroup{{ARN: groupARN, File: filepath.Join(t.TempDir(), "ct.jsonl")}}}, roles{})
}

// targets is what answers show of a trail's targets: the topic's name and ARN,
// the log group and its role.
func targets(name, arn, group, role *string) []string {
	return []string{str(name), str(arn), str(group), str(role)}
}

// TestTargets: declared topics and log groups are taken, shown by every answer
// that shows a trail, kept by updates that do not name them, and removed by an
// empty text.
func TestTargets(t *testing.T) {
	t.Parallel()
	r := notifyRig(t)
	ctx, c := t.Context(), r.client(region)
	in := create("audit")
	in.SnsTopicName, in.CloudWatchLogsLogGroupArn, in.CloudWatchLogsRoleArn = new("trail-topic"), new(groupARN), new(goodRole)
	out, err := c.CreateTrail(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	if p := r.asked.perms; len(p) != 2 || p[1].Action != "iam:PassRole" || p[1].Resource != goodRole || p[1].Context["iam:passedtoservice"][0] != "cloudtrail.amazonaws.com" {
		t.Errorf("permissions %+v", p)
	}
	want := []string{"trail-topic", topicARN1, groupARN, goodRole}
	shown := func(what string, want []string) {
		t.Helper()
		get, err := c.GetTrail(ctx, &sdk.GetTrailInput{Name: new("audit")})
		if err != nil {
			t.Fatal(err)
		}
		desc, err := c.DescribeTrails(ctx, &sdk.DescribeTrailsInput{})
		if err != nil {
			t.Fatal(err)
		}
		g, d := get.Trail, desc.TrailList[0]
		if diff := cmp.Diff(want, targets(g.SnsTopicName, g.SnsTopicARN, g.CloudWatchLogsLogGroupArn, g.CloudWatchLogsRoleArn)); diff != "" {
			t.Errorf("%s: GetTrail: %s", what, diff)
		}
		if diff := cmp.Diff(want, targets(d.SnsTopicName, d.SnsTopicARN, d.CloudWatchLogsLogGroupArn, d.CloudWatchLogsRoleArn)); diff != "" {
			t.Errorf("%s: DescribeTrails: %s", what, diff)
		}
	}
	if diff := cmp.Diff(want, targets(out.SnsTopicName, out.SnsTopicARN, out.CloudWatchLogsLogGroupArn, out.CloudWatchLogsRoleArn)); diff != "" {
		t.Errorf("CreateTrail: %s", diff)
	}
	shown("created", want)
	up, err := c.UpdateTrail(ctx, &sdk.UpdateTrailInput{Name: new("audit"), S3KeyPrefix: new("p"), SnsTopicName: new(topicARN1)})
	if err != nil {
		t.Fatal(err)
	}
	want[0] = topicARN1 // as it was given
	if diff := cmp.Diff(want, targets(up.SnsTopicName, up.SnsTopicARN, up.CloudWatchLogsLogGroupArn, up.CloudWatchLogsRoleArn)); diff != "" {
		t.Errorf("UpdateTrail: %s", diff)
	}
	shown("updated", want)
	if _, err := c.UpdateTrail(ctx, &sdk.UpdateTrailInput{Name: new("audit"), SnsTopicName: new(""), CloudWatchLogsLogGroupArn: new(""), CloudWatchLogsRoleArn: new("")}); err != nil {
		t.Fatal(err)
	}
	shown("removed", []string{"", "", "", ""})
	st, err := c.GetTrailStatus(ctx, &sdk.GetTrailStatusInput{Name: new("audit")})
	if err != nil || st.LatestNotificationTime != nil || st.LatestCloudWatchLogsDeliveryTime != nil || *st.LatestNotificationAttemptTime != "" {
		t.Errorf("status %+v, %v", st, err)
	}
}

// TestTargetErrors: what is not declared, or not allowed, gets AWS's error and a
// hint, and leaves nothing behind.
func TestTargetErrors(t *testing.T) {
	t.Parallel()
	r := notifyRig(t)
	ctx, c := t.Context(), r.client(region)
	for _, tc := range []struct {
		name               string
		topic, group, role string
		code, text         string
	}{
		{"unknown topic", "other", "", "", "InsufficientSnsTopicPolicyException",
			"SNS Topic does not exist or the topic policy is incorrect! On this server a topic exists when the file that --notifications names declares it: arn:aws:sns:us-east-1:123456789012:other is not in it."},
		{"bad name", "a.b", "", "", "InvalidSnsTopicNameException", "a.b"},
		{"another account's topic", "arn:aws:sns:us-east-1:999999999999:trail-topic", "", "", "InsufficientSnsTopicPolicyException",
			"SNS Topic does not exist or the topic policy is incorrect! The topic must be in the trail's account."},
		{"FIFO topic", topicARN1 + ".fifo", "", "", "InvalidSnsTopicNameException", ""},
		{"long name", strings.Repeat("x", 257), "", "", "InvalidSnsTopicNameException", "longer than maximum length (256)"},
		{"queue", "arn:aws:sqs:us-east-1:123456789012:q", "", "", "InvalidSnsTopicNameException", ""},
		{"no role", "", groupARN, "", "InvalidCloudWatchLogsRoleArnException", "You must specify a role ARN as well as a log group."},
		{"no group", "", "", goodRole, "InvalidCloudWatchLogsLogGroupArnException", ""},
		{"unknown group", "", strings.Replace(groupARN, ":ct:", ":other:", 1), goodRole, "InvalidCloudWatchLogsLogGroupArnException", "--notifications"},
		{"without the star", "", strings.TrimSuffix(groupARN, ":*"), goodRole, "InvalidCloudWatchLogsLogGroupArnException", "CloudTrail cannot validate the specified log group ARN."},
		{"another account's", "", strings.Replace(groupARN, account, "999999999999", 1), goodRole, "InvalidCloudWatchLogsLogGroupArnException", "account"},
		{"untrusting role", "", groupARN, shutRole, "InvalidCloudWatchLogsRoleArnException", "Access denied. Check the trust relationships for your role."},
		{"poor role", "", groupARN, poorRole, "InvalidCloudWatchLogsLogGroupArnException",
			"Access denied. Check the permissions for your role. It needs logs:CreateLogStream on arn:aws:logs:us-east-1:123456789012:log-group:ct:log-stream:123456789012_CloudTrail_us-east-1"},
	} {
		in := create("audit")
		in.SnsTopicName, in.CloudWatchLogsLogGroupArn, in.CloudWatchLogsRoleArn = optional(tc.topic), optional(tc.group), optional(tc.role)
		if _, err := c.CreateTrail(ctx, in); code(err) != tc.code || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: %v, want %s with %q", tc.name, err, tc.code, tc.text)
		}
	}
	list, err := c.ListTrails(ctx, &sdk.ListTrailsInput{})
	if err != nil || len(list.Trails) != 0 {
		t.Errorf("trails %+v, %v", list, err)
	}
}
