package policy

import "time"

// ManagedPolicy is a policy that AWS keeps for everybody (AWS managed policy
// reference). It belongs to no account and does not change.
type ManagedPolicy struct {
	Name           string
	ARN            string // arn:aws:iam::aws:policy/…
	Path           string
	Description    string
	DefaultVersion string // the only one there is here
	Created        time.Time
	Document       string // parses as an Identity policy
}

// Managed lists the AWS-managed policies, by name. The slice is the caller's.
func Managed() []ManagedPolicy {
	at := func(year, month, day, hour, minute, second int) time.Time {
		return time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	}
	return []ManagedPolicy{
		managed("AWSCloudTrail_FullAccess", "v1", at(2020, 12, 4, 19, 37, 5), documentAWSCloudTrailFullAccess,
			"Full access to CloudTrail and to what its trails deliver to."),
		managed("AWSCloudTrail_ReadOnlyAccess", "v1", at(2022, 6, 14, 17, 19, 6), documentAWSCloudTrailReadOnlyAccess,
			"Read access to CloudTrail."),
		managed("AdministratorAccess", "v1", at(2015, 2, 6, 18, 39, 46), documentAdministratorAccess,
			"Full access to every service and resource."),
		managed("AmazonAthenaFullAccess", "v1", at(2016, 11, 30, 16, 46, 1), documentAmazonAthenaFullAccess,
			"Full access to Athena and to what its queries need: Glue's catalogue and result buckets."),
		managed("AmazonKeyspacesFullAccess", "v1", at(2020, 4, 23, 17, 41, 58), documentAmazonKeyspacesFullAccess,
			"Full access to Keyspaces."),
		managed("AmazonKeyspacesReadOnlyAccess", "v1", at(2020, 4, 23, 17, 41, 30), documentAmazonKeyspacesReadOnlyAccess,
			"Read access to Keyspaces."),
		managed("AmazonKeyspacesReadOnlyAccess_v2", "v1", at(2020, 4, 23, 17, 41, 30), documentAmazonKeyspacesReadOnlyAccessv2,
			"Read access to Keyspaces."),
		managed("AmazonS3FullAccess", "v2", at(2015, 2, 6, 18, 40, 58), documentAmazonS3FullAccess,
			"Full access to all buckets."),
		managed("AmazonS3ReadOnlyAccess", "v3", at(2015, 2, 6, 18, 40, 59), documentAmazonS3ReadOnlyAccess,
			"Read access to all buckets."),
		managed("IAMFullAccess", "v2", at(2015, 2, 6, 18, 40, 38), documentIAMFullAccess,
			"Full access to IAM."),
		managed("IAMReadOnlyAccess", "v4", at(2015, 2, 6, 18, 40, 39), documentIAMReadOnlyAccess,
			"Read access to IAM."),
		managed("IAMUserChangePassword", "v2", at(2016, 11, 15, 0, 25, 16), documentIAMUserChangePassword,
			"Lets a user change its own password."),
		managed("PowerUserAccess", "v1", at(2015, 2, 6, 18, 39, 47), documentPowerUserAccess,
			"Full access to services, without the management of identities."),
		managed("ReadOnlyAccess", "v1", at(2015, 2, 6, 18, 39, 48), documentReadOnlyAccess,
			"Read access to services and resources."),
		managed("SecurityAudit", "v1", at(2015, 2, 6, 18, 41, 1), documentSecurityAudit,
			"Read access to security settings."),
	}
}

func managed(name, version string, created time.Time, document, description string) ManagedPolicy {
	return ManagedPolicy{
		Name: name, ARN: "arn:aws:iam::aws:policy/" + name, Path: "/", Description: description,
		DefaultVersion: version, Created: created, Document: document,
	}
}
