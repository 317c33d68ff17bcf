package cloudtrail

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	sdk "github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"spoor/internal/aws"
	"spoor/internal/call"
	"spoor/internal/notify"
	"spoor/internal/trail"
)

// noTargets is what trails lack.
const noTargets = "keys of KMS and organizations do not exist here and are refused with AWS's errors for that; SNS topics and CloudWatch log groups are those that --notifications declares"

func (s *api) trailOperations() []call.Operation {
	return []call.Operation{
		call.Op("CreateTrail", createPermission, s.createTrail,
			resource(func(c *call.Call, in *sdk.CreateTrailInput, _ *sdk.CreateTrailOutput) string {
				return trail.ARN(c.AccountID, c.Region, str(in.Name))
			}), call.Partial(noTargets)),
		call.Op("UpdateTrail", updatePermission, s.updateTrail,
			resource(func(c *call.Call, in *sdk.UpdateTrailInput, _ *sdk.UpdateTrailOutput) string {
				return named(c, in.Name)
			}), call.Partial(noTargets)),
		call.Op("DeleteTrail", onTrail("DeleteTrail", func(in *sdk.DeleteTrailInput) *string { return in.Name }), handle(s.deleteTrail),
			resource(func(c *call.Call, in *sdk.DeleteTrailInput, _ *sdk.DeleteTrailOutput) string {
				return named(c, in.Name)
			})),
		call.Op("StartLogging", onTrail("StartLogging", func(in *sdk.StartLoggingInput) *string { return in.Name }), handle(s.startLogging),
			resource(func(c *call.Call, in *sdk.StartLoggingInput, _ *sdk.StartLoggingOutput) string {
				return named(c, in.Name)
			})),
		call.Op("StopLogging", onTrail("StopLogging", func(in *sdk.StopLoggingInput) *string { return in.Name }), handle(s.stopLogging),
			resource(func(c *call.Call, in *sdk.StopLoggingInput, _ *sdk.StopLoggingOutput) string {
				return named(c, in.Name)
			})),
		call.Op("GetTrail", onTrail("GetTrail", func(in *sdk.GetTrailInput) *string { return in.Name }), handle(s.getTrail), call.ReadOnly),
		call.Op("GetTrailStatus", onTrail("GetTrailStatus", func(in *sdk.GetTrailStatusInput) *string { return in.Name }), handle(s.getTrailStatus), call.ReadOnly),
		call.Op("DescribeTrails", onAll[sdk.DescribeTrailsInput]("DescribeTrails"), handle(s.describeTrails), call.ReadOnly),
		call.Op("ListTrails", onAll[sdk.ListTrailsInput]("ListTrails"), handle(s.listTrails), call.ReadOnly),
	}
}

// named is a trail's ARN from the name or ARN in an input.
func named(c *call.Call, nameOrARN *string) string {
	if n := str(nameOrARN); strings.HasPrefix(n, "arn:") {
		return n
	}
	return trail.ARN(c.AccountID, c.Region, str(nameOrARN))
}

func createPermission(c *call.Call, in *sdk.CreateTrailInput) ([]call.Permission, error) {
	p := call.Permission{Action: "cloudtrail:CreateTrail", Resource: trail.ARN(c.AccountID, c.Region, str(in.Name)), Context: tagKeys(in.TagsList)}
	out := []call.Permission{p}
	// Tags at creation need the permission to tag as well (service
	// authorization reference, CreateTrail's dependent actions).
	if len(in.TagsList) > 0 {
		p.Action = "cloudtrail:AddTags"
		out = append(out, p)
	}
	return passRole(out, in.CloudWatchLogsRoleArn), nil
}

func updatePermission(c *call.Call, in *sdk.UpdateTrailInput) ([]call.Permission, error) {
	out, err := onTrail("UpdateTrail", func(in *sdk.UpdateTrailInput) *string { return in.Name })(c, in)
	return passRole(out, in.CloudWatchLogsRoleArn), err
}

// passRole adds the permission to give CloudTrail a role.
func passRole(out []call.Permission, role *string) []call.Permission {
	if str(role) == "" {
		return out
	}
	return append(out, call.Permission{Action: "iam:PassRole", Resource: *role,
		Context: map[string][]string{"iam:passedtoservice": {trail.ServicePrincipal}}})
}

// checkForeign refuses what CreateTrail and UpdateTrail take and this server
// has not, with AWS's answer to what does not exist.
func checkForeign(key *string, organization *bool) error {
	switch {
	case truth(organization):
		return organizationsNotInUse("cloudtrail")
	case str(key) != "":
		return &aws.Error{Op: "cloudtrail", Kind: aws.NotFound, Code: "KmsKeyNotFoundException",
			Message: "KMS key with ID " + str(key) + " cannot be found."}
	}
	return nil
}

// setTargets puts the topic and the log group that an input names into a trail
// and checks them. An empty text takes them away.
func (s *api) setTargets(t *trail.State, topic, group, role *string) error {
	set := &t.Settings
	if topic != nil {
		arn, err := topicARN(t, *topic)
		if err != nil {
			return err
		}
		set.Topic, t.TopicName = arn, *topic
	}
	if group != nil {
		set.LogGroup = *group
	}
	if role != nil {
		set.LogRole = *role
	}
	if set.Topic != "" && topic != nil {
		if err := s.trails.CheckTopic(t.Account, set.Topic); err != nil {
			return err
		}
	}
	if group == nil && role == nil {
		return nil // what was good enough then is not asked about now
	}
	return s.trails.CheckLogGroup(t)
}

// topicARN is the ARN of a topic given by it or by name.
func topicARN(t *trail.State, nameOrARN string) (string, error) {
	switch {
	case nameOrARN == "":
		return "", nil
	case utf8.RuneCountInString(nameOrARN) > maxTopic:
		return "", invalid("InvalidSnsTopicNameException", "SNS topic name or ARN is longer than maximum length (%d).", maxTopic)
	case strings.HasPrefix(nameOrARN, "arn:"):
		if !notify.ValidTopicARN(nameOrARN) {
			return "", invalid("InvalidSnsTopicNameException", "SNS topic ARN %s is not valid. It has the form arn:aws:sns:us-east-1:123456789012:TopicName.", nameOrARN)
		}
		return nameOrARN, nil
	case !notify.ValidTopicName(nameOrARN):
		return "", invalid("InvalidSnsTopicNameException", "SNS topic name %s is not valid. It can only contain letters, numbers, hyphens (-) and underscores (_).", nameOrARN)
	}
	return aws.NewARN("sns", t.HomeRegion, t.Account, nameOrARN).String(), nil
}

func checkRegions(s *trail.Settings) error {
	if s.MultiRegion && !s.GlobalEvents {
		return invalid("InvalidParameterCombinationException", "Multi-Region trail must include global service events.")
	}
	return nil
}

func (s *api) createTrail(ctx context.Context, c *call.Call, in *sdk.CreateTrailInput) (*sdk.CreateTrailOutput, error) {
	t := &trail.State{Account: c.AccountID, HomeRegion: c.Region, Name: str(in.Name), Created: s.trails.Now(), Settings: trail.Settings{
		Bucket: str(in.S3BucketName), Prefix: str(in.S3KeyPrefix), MultiRegion: truth(in.IsMultiRegionTrail),
		GlobalEvents: in.IncludeGlobalServiceEvents == nil || *in.IncludeGlobalServiceEvents, Validation: truth(in.EnableLogFileValidation),
	}}
	var err error
	if err = checkTrailName(t.Name); err != nil {
		return nil, err
	}
	if err = s.checkSettings(&t.Settings); err != nil {
		return nil, err
	}
	if err = checkForeign(in.KmsKeyId, in.IsOrganizationTrail); err != nil {
		return nil, err
	}
	if t.Tags, err = mergeTags(nil, in.TagsList); err != nil {
		return nil, err
	}
	s.trails.Lock(c)
	if s.trails.Trail(t.ARN()) != nil {
		return nil, &aws.Error{Op: "cloudtrail.CreateTrail", Kind: aws.Conflict, Code: "TrailAlreadyExistsException",
			Message: "Trail " + t.Name + " already exists for customer: " + c.AccountID}
	}
	if err := s.checkQuota(c, t); err != nil {
		return nil, err
	}
	if err := s.trails.CheckBucket(ctx, t); err != nil {
		return nil, err
	}
	if err := s.setTargets(t, in.SnsTopicName, in.CloudWatchLogsLogGroupArn, in.CloudWatchLogsRoleArn); err != nil {
		return nil, err
	}
	if err := s.trails.Put(c, t); err != nil {
		return nil, err
	}
	set := &t.Settings
	return &sdk.CreateTrailOutput{Name: &t.Name, S3BucketName: &set.Bucket, S3KeyPrefix: optional(set.Prefix), IncludeGlobalServiceEvents: &set.GlobalEvents,
		IsMultiRegionTrail: &set.MultiRegion, TrailARN: new(t.ARN()), LogFileValidationEnabled: &set.Validation, IsOrganizationTrail: new(false),
		SnsTopicName: optional(t.TopicName), SnsTopicARN: optional(set.Topic), CloudWatchLogsLogGroupArn: optional(set.LogGroup),
		CloudWatchLogsRoleArn: optional(set.LogRole)}, nil
}

func (s *api) checkSettings(set *trail.Settings) error {
	if err := checkBucketName(set.Bucket); err != nil {
		return err
	}
	if err := checkPrefix(set.Prefix); err != nil {
		return err
	}
	return checkRegions(set)
}

// checkQuota counts the trails that a region shows: its own and the shadows of
// multi-region ones.
func (s *api) checkQuota(c *call.Call, t *trail.State) error {
	perRegion := map[string]int{}
	shadows := 0
	for _, other := range s.trails.Trails(c.AccountID) {
		if other.ARN() == t.ARN() {
			continue
		}
		if other.Settings.MultiRegion {
			shadows++
		} else {
			perRegion[other.HomeRegion]++
		}
	}
	regions := []string{t.HomeRegion}
	if t.Settings.MultiRegion {
		for r := range perRegion {
			regions = append(regions, r)
		}
	}
	slices.Sort(regions)
	for _, r := range regions {
		if perRegion[r]+shadows >= maxTrailsPerRegion {
			return &aws.Error{Op: "cloudtrail.CreateTrail", Kind: aws.LimitExceeded, Code: "MaximumNumberOfTrailsExceededException",
				Message: "User: " + c.AccountID + " already has 5 trails in " + r + "."}
		}
	}
	return nil
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (s *api) updateTrail(ctx context.Context, c *call.Call, in *sdk.UpdateTrailInput) (*sdk.UpdateTrailOutput, error) {
	s.trails.Lock(c)
	old, err := s.findHome(c, str(in.Name))
	if err != nil {
		return nil, err
	}
	t := *old
	set := &t.Settings
	if in.S3BucketName != nil {
		set.Bucket = *in.S3BucketName
	}
	if in.S3KeyPrefix != nil {
		set.Prefix = *in.S3KeyPrefix
	}
	if in.IncludeGlobalServiceEvents != nil {
		set.GlobalEvents = *in.IncludeGlobalServiceEvents
	}
	if in.IsMultiRegionTrail != nil {
		set.MultiRegion = *in.IsMultiRegionTrail
		if set.MultiRegion && in.IncludeGlobalServiceEvents == nil {
			set.GlobalEvents = true
		}
	}
	if in.EnableLogFileValidation != nil {
		set.Validation = *in.EnableLogFileValidation
	}
	if err := s.checkSettings(set); err != nil {
		return nil, err
	}
	if err := checkForeign(in.KmsKeyId, in.IsOrganizationTrail); err != nil {
		return nil, err
	}
	if set.MultiRegion && !old.Settings.MultiRegion {
		if err := s.checkQuota(c, &t); err != nil {
			return nil, err
		}
	}
	if err := s.trails.CheckBucket(ctx, &t); err != nil {
		return nil, err
	}
	if err := s.setTargets(&t, in.SnsTopicName, in.CloudWatchLogsLogGroupArn, in.CloudWatchLogsRoleArn); err != nil {
		return nil, err
	}
	if err := s.trails.Put(c, &t); err != nil {
		return nil, err
	}
	return &sdk.UpdateTrailOutput{Name: &t.Name, S3BucketName: &set.Bucket, S3KeyPrefix: optional(set.Prefix), IncludeGlobalServiceEvents: &set.GlobalEvents,
		IsMultiRegionTrail: &set.MultiRegion, TrailARN: new(t.ARN()), LogFileValidationEnabled: &set.Validation, IsOrganizationTrail: new(false),
		SnsTopicName: optional(t.TopicName), SnsTopicARN: optional(set.Topic), CloudWatchLogsLogGroupArn: optional(set.LogGroup),
		CloudWatchLogsRoleArn: optional(set.LogRole)}, nil
}

func (s *api) deleteTrail(c *call.Call, in *sdk.DeleteTrailInput) (*sdk.DeleteTrailOutput, error) {
	s.trails.Lock(c)
	t, err := s.findHome(c, str(in.Name))
	if err != nil {
		return nil, err
	}
	return &sdk.DeleteTrailOutput{}, s.trails.Delete(c, t)
}

func (s *api) startLogging(c *call.Call, in *sdk.StartLoggingInput) (*sdk.StartLoggingOutput, error) {
	s.trails.Lock(c)
	old, err := s.findHome(c, str(in.Name))
	if err != nil || old.Settings.Logging {
		return &sdk.StartLoggingOutput{}, err
	}
	t := *old
	t.Settings.Logging, t.Started = true, s.trails.Now()
	return &sdk.StartLoggingOutput{}, s.trails.Put(c, &t)
}

func (s *api) stopLogging(c *call.Call, in *sdk.StopLoggingInput) (*sdk.StopLoggingOutput, error) {
	s.trails.Lock(c)
	old, err := s.findHome(c, str(in.Name))
	if err != nil || !old.Settings.Logging {
		return &sdk.StopLoggingOutput{}, err
	}
	t := *old
	t.Settings.Logging, t.Stopped = false, s.trails.Now()
	return &sdk.StopLoggingOutput{}, s.trails.Put(c, &t)
}

func sdkTrail(t *trail.State) types.Trail {
	set := &t.Settings
	return types.Trail{Name: &t.Name, S3BucketName: &set.Bucket, S3KeyPrefix: optional(set.Prefix), IncludeGlobalServiceEvents: &set.GlobalEvents,
		IsMultiRegionTrail: &set.MultiRegion, HomeRegion: &t.HomeRegion, TrailARN: new(t.ARN()), LogFileValidationEnabled: &set.Validation,
		HasCustomEventSelectors: new(len(set.Selectors.Basic)+len(set.Selectors.Advanced) > 0),
		HasInsightSelectors:     new(len(t.Settings.Insights) > 0), IsOrganizationTrail: new(false),
		SnsTopicName: optional(t.TopicName), SnsTopicARN: optional(set.Topic), CloudWatchLogsLogGroupArn: optional(set.LogGroup),
		CloudWatchLogsRoleArn: optional(set.LogRole)}
}

func (s *api) getTrail(c *call.Call, in *sdk.GetTrailInput) (*sdk.GetTrailOutput, error) {
	t, err := s.findTrail(c, str(in.Name))
	if err != nil {
		return nil, err
	}
	return &sdk.GetTrailOutput{Trail: new(sdkTrail(t))}, nil
}

// describeTrailsOutput is sdk.DescribeTrailsOutput by the name that AWS's model
// gives its member, the only one of the service in lower camel case.
type describeTrailsOutput struct {
	TrailList []types.Trail `wire:"trailList"`
}

// describeTrails lists the region's trails and, unless told not to, the
// shadows of other regions' multi-region trails.
func (s *api) describeTrails(c *call.Call, in *sdk.DescribeTrailsInput) (*describeTrailsOutput, error) {
	shadows := in.IncludeShadowTrails == nil || *in.IncludeShadowTrails
	for _, n := range in.TrailNameList {
		check := checkTrailName
		if strings.HasPrefix(n, "arn:") {
			check = checkTrailARN
		}
		if err := check(n); err != nil {
			return nil, err
		}
	}
	out := &describeTrailsOutput{TrailList: []types.Trail{}}
	for _, t := range s.trails.Trails(c.AccountID) {
		if t.HomeRegion != c.Region && !(shadows && t.Settings.MultiRegion) {
			continue
		}
		if len(in.TrailNameList) > 0 && !slices.Contains(in.TrailNameList, t.ARN()) &&
			!(t.HomeRegion == c.Region && slices.Contains(in.TrailNameList, t.Name)) {
			continue
		}
		out.TrailList = append(out.TrailList, sdkTrail(t))
	}
	return out, nil
}

func (s *api) listTrails(c *call.Call, in *sdk.ListTrailsInput) (*sdk.ListTrailsOutput, error) {
	if str(in.NextToken) != "" {
		// An account's trails fit one page, so no token was ever given out.
		return nil, invalid("InvalidTokenException", "The token is not valid.")
	}
	out := &sdk.ListTrailsOutput{Trails: []types.TrailInfo{}}
	for _, t := range s.trails.Trails(c.AccountID) {
		out.Trails = append(out.Trails, types.TrailInfo{HomeRegion: &t.HomeRegion, Name: &t.Name, TrailARN: new(t.ARN())})
	}
	return out, nil
}

func (s *api) getTrailStatus(c *call.Call, in *sdk.GetTrailStatusInput) (*sdk.GetTrailStatusOutput, error) {
	t, err := s.findTrail(c, str(in.Name))
	if err != nil {
		return nil, err
	}
	// A multi-region trail has a status in each region.
	region := t.HomeRegion
	if t.Settings.MultiRegion {
		region = c.Region
	}
	st, err := s.trails.Status(t.ARN(), region)
	if err != nil {
		return nil, err
	}
	notified, err := s.trails.NotificationStatus(t.ARN(), region)
	if err != nil {
		return nil, err
	}
	logs, err := s.trails.LogsStatus(t.ARN())
	if err != nil {
		return nil, err
	}
	return &sdk.GetTrailStatusOutput{
		IsLogging:          &t.Settings.Logging,
		LatestDeliveryTime: timeOrNil(st.LatestDelivery), LatestDeliveryError: optional(st.Error),
		LatestDigestDeliveryTime: timeOrNil(st.LatestDigestDelivery), LatestDigestDeliveryError: optional(st.DigestError),
		StartLoggingTime: timeOrNil(t.Started), StopLoggingTime: timeOrNil(t.Stopped),
		LatestDeliveryAttemptTime: new(timeText(st.LatestAttempt)), LatestDeliveryAttemptSucceeded: new(timeText(st.LatestAttemptOK)),
		LatestNotificationTime: timeOrNil(notified.LastSuccess), LatestNotificationError: optional(notified.LastError),
		LatestNotificationAttemptTime: new(timeText(notified.LastAttempt)), LatestNotificationAttemptSucceeded: new(timeText(notified.LastSuccess)),
		LatestCloudWatchLogsDeliveryTime: timeOrNil(logs.LastSuccess), LatestCloudWatchLogsDeliveryError: optional(logs.LastError),
		TimeLoggingStarted: new(timeText(t.Started)), TimeLoggingStopped: new(timeText(t.Stopped)),
	}, nil
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}
