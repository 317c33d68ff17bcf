package cloudtrail

// sample is a query that SearchSampleQueries offers. SQL names its event data
// store as AWS's guide does, for the reader to put an id in the place of.
type sample struct{ name, description, sql string }

// sampleStore stands for an event data store's id.
const sampleStore = "event_data_store_ID"

const from = " FROM " + sampleStore + " "

// samples are this server's own: AWS does not publish its list. Each runs as it
// is once an id is put in.
var samples = []sample{
	{"Who deleted resources", "Finds the callers that deleted something in the last week, with what was deleted and from which address.",
		"SELECT eventTime, userIdentity.arn, eventSource, eventName, sourceIPAddress" + from +
			"WHERE eventName LIKE 'Delete%' AND errorCode IS NULL AND eventTime > date_add('day', -7, now()) ORDER BY eventTime DESC"},
	{"Root user activity", "Lists everything that the root user of the account did. Root credentials should rarely be used.",
		"SELECT eventTime, eventSource, eventName, awsRegion, sourceIPAddress, errorCode" + from + "WHERE userIdentity.type = 'Root' ORDER BY eventTime DESC"},
	{"Console sign-ins without MFA", "Shows successful sign-ins to the console in which no multi-factor authentication device was used.",
		"SELECT eventTime, userIdentity.arn, sourceIPAddress" + from +
			"WHERE eventName = 'ConsoleLogin' AND element_at(responseElements, 'ConsoleLogin') = 'Success' AND element_at(additionalEventData, 'MFAUsed') = 'No' ORDER BY eventTime DESC"},
	{"Failed console sign-ins", "Counts failed attempts to sign in to the console by user name and source address, to see password guessing.",
		"SELECT userIdentity.username, sourceIPAddress, count(*) AS attempts" + from +
			"WHERE eventName = 'ConsoleLogin' AND element_at(responseElements, 'ConsoleLogin') = 'Failure' GROUP BY userIdentity.username, sourceIPAddress ORDER BY attempts DESC"},
	{"Access denied errors", "Finds the principals whose calls are denied most often, with the operations that they tried.",
		"SELECT userIdentity.arn, eventSource, eventName, count(*) AS denials" + from +
			"WHERE errorCode IN ('AccessDenied', 'AccessDeniedException', 'UnauthorizedOperation', 'Client.UnauthorizedOperation') GROUP BY userIdentity.arn, eventSource, eventName ORDER BY denials DESC"},
	{"Top errors by service", "Counts error codes for each service and operation to find what fails most.",
		"SELECT eventSource, eventName, errorCode, count(*) AS errors" + from + "WHERE errorCode IS NOT NULL GROUP BY eventSource, eventName, errorCode ORDER BY errors DESC LIMIT 50"},
	{"Most active users", "Ranks users and roles by the number of API calls that they made.",
		"SELECT userIdentity.arn, count(*) AS calls" + from + "WHERE userIdentity.arn IS NOT NULL GROUP BY userIdentity.arn ORDER BY calls DESC LIMIT 25"},
	{"Most used services", "Counts API calls for each service, to see where the activity of the account is.",
		"SELECT eventSource, count(*) AS calls" + from + "GROUP BY eventSource ORDER BY calls DESC"},
	{"Calls by region", "Counts API calls and callers for each region, to notice activity in regions that nobody should use.",
		"SELECT awsRegion, count(*) AS calls, count(DISTINCT userIdentity.arn) AS callers" + from + "GROUP BY awsRegion ORDER BY calls DESC"},
	{"Events per hour", "Draws the volume of events over the last day, hour by hour.",
		"SELECT date_trunc('hour', eventTime) AS hour, count(*) AS events" + from + "WHERE eventTime > date_add('day', -1, now()) GROUP BY 1 ORDER BY 1"},
	{"Events recorded per day", "Counts the events of each day and category, to estimate what is ingested.",
		"SELECT date_trunc('day', eventTime) AS day, eventCategory, count(*) AS events" + from + "GROUP BY 1, eventCategory ORDER BY 1 DESC"},
	{"IAM changes", "Lists every change of users, groups, roles and policies in IAM.",
		"SELECT eventTime, userIdentity.arn, eventName, requestParameters" + from + "WHERE eventSource = 'iam.amazonaws.com' AND readOnly = false ORDER BY eventTime DESC"},
	{"Access keys created", "Shows who created access keys, and for which IAM user.",
		"SELECT eventTime, userIdentity.arn, element_at(requestParameters, 'userName') AS key_of, sourceIPAddress" + from + "WHERE eventName = 'CreateAccessKey' AND errorCode IS NULL ORDER BY eventTime DESC"},
	{"Activity of one access key", "Follows all calls made with one access key id, in order. Put the key's id in.",
		"SELECT eventTime, eventSource, eventName, sourceIPAddress, errorCode" + from + "WHERE userIdentity.accessKeyId = 'AKIAIOSFODNN7EXAMPLE' ORDER BY eventTime"},
	{"Administrator policies attached", "Finds where the managed policy AdministratorAccess was attached to a user, group or role: a privilege escalation to look at.",
		"SELECT eventTime, userIdentity.arn, eventName, requestParameters" + from +
			"WHERE eventName IN ('AttachUserPolicy', 'AttachRolePolicy', 'AttachGroupPolicy') AND element_at(requestParameters, 'policyArn') LIKE '%AdministratorAccess' ORDER BY eventTime DESC"},
	{"Roles assumed from other accounts", "Shows which roles were assumed by principals of other accounts: cross-account access.",
		"SELECT eventTime, userIdentity.accountId, userIdentity.principalId, element_at(requestParameters, 'roleArn') AS role" + from +
			"WHERE eventName = 'AssumeRole' AND userIdentity.accountId <> recipientAccountId ORDER BY eventTime DESC"},
	{"Who assumed a role", "Counts the sessions of each role by who assumed it.",
		"SELECT element_at(requestParameters, 'roleArn') AS role, userIdentity.arn, count(*) AS sessions" + from + "WHERE eventName = 'AssumeRole' AND errorCode IS NULL GROUP BY 1, userIdentity.arn ORDER BY sessions DESC"},
	{"Users that switched to a role and changed something", "Joins the sessions of roles with the changes made in them, so that a change can be traced to who assumed the role.",
		"SELECT b.eventTime, a.userIdentity.arn AS who, b.userIdentity.arn AS session, b.eventSource, b.eventName FROM " + sampleStore + " a JOIN " + sampleStore + " b " +
			"ON element_at(a.requestParameters, 'roleSessionName') = split_part(b.userIdentity.arn, '/', 3) " +
			"WHERE a.eventName = 'AssumeRole' AND b.userIdentity.type = 'AssumedRole' AND b.readOnly = false ORDER BY b.eventTime DESC"},
	{"Buckets created or deleted", "Lists S3 buckets that were created or deleted, and by whom.",
		"SELECT eventTime, userIdentity.arn, eventName, element_at(requestParameters, 'bucketName') AS bucket" + from +
			"WHERE eventSource = 's3.amazonaws.com' AND eventName IN ('CreateBucket', 'DeleteBucket') ORDER BY eventTime DESC"},
	{"Bucket policy and public access changes", "Finds changes of S3 bucket policies, access control lists and public access blocks, which may open a bucket to the public.",
		"SELECT eventTime, userIdentity.arn, eventName, element_at(requestParameters, 'bucketName') AS bucket" + from +
			"WHERE eventName IN ('PutBucketPolicy', 'DeleteBucketPolicy', 'PutBucketAcl', 'PutBucketPublicAccessBlock', 'DeleteBucketPublicAccessBlock') ORDER BY eventTime DESC"},
	{"Objects read from S3", "Counts the objects that each principal read from each bucket. The event data store must log S3 data events.",
		"SELECT userIdentity.arn, element_at(requestParameters, 'bucketName') AS bucket, count(*) AS reads" + from +
			"WHERE eventSource = 's3.amazonaws.com' AND eventName = 'GetObject' GROUP BY userIdentity.arn, 2 ORDER BY reads DESC"},
	{"Objects deleted from S3", "Shows who deleted which objects from S3. The event data store must log S3 data events.",
		"SELECT eventTime, userIdentity.arn, element_at(requestParameters, 'bucketName') AS bucket, element_at(requestParameters, 'key') AS object_key" + from +
			"WHERE eventName IN ('DeleteObject', 'DeleteObjects') ORDER BY eventTime DESC"},
	{"Trails stopped or changed", "Finds attempts to stop, delete or change trails and event data stores: tampering with the audit log.",
		"SELECT eventTime, userIdentity.arn, eventName, sourceIPAddress, errorCode" + from +
			"WHERE eventSource = 'cloudtrail.amazonaws.com' AND eventName IN ('StopLogging', 'DeleteTrail', 'UpdateTrail', 'PutEventSelectors', 'DeleteEventDataStore', 'StopEventDataStoreIngestion') ORDER BY eventTime DESC"},
	{"Athena queries run", "Lists the SQL statements that were started in Athena, with the workgroup and who ran them.",
		"SELECT eventTime, userIdentity.arn, element_at(requestParameters, 'workGroup') AS workgroup, element_at(requestParameters, 'queryString') AS statement" + from +
			"WHERE eventSource = 'athena.amazonaws.com' AND eventName = 'StartQueryExecution' ORDER BY eventTime DESC"},
	{"Keyspaces schema changes", "Shows keyspaces and tables of Amazon Keyspaces (Cassandra) that were created, altered or dropped.",
		"SELECT eventTime, userIdentity.arn, eventName, requestParameters" + from + "WHERE eventSource = 'cassandra.amazonaws.com' AND readOnly = false ORDER BY eventTime DESC"},
	{"Activity of one source address", "Lists the calls that came from one IP address. Put the address in.",
		"SELECT eventTime, userIdentity.arn, eventSource, eventName, errorCode" + from + "WHERE sourceIPAddress = '192.0.2.1' ORDER BY eventTime DESC"},
	{"Callers with many source addresses", "Finds principals that call from many different IP addresses, as stolen credentials do.",
		"SELECT userIdentity.arn, count(DISTINCT sourceIPAddress) AS addresses, count(*) AS calls" + from + "WHERE userIdentity.arn IS NOT NULL GROUP BY userIdentity.arn ORDER BY addresses DESC LIMIT 25"},
	{"Old TLS versions", "Counts the calls made with TLS versions before 1.2, by caller and user agent.",
		"SELECT tlsDetails.tlsVersion, userIdentity.arn, userAgent, count(*) AS calls" + from + "WHERE tlsDetails.tlsVersion IN ('TLSv1', 'TLSv1.1') GROUP BY tlsDetails.tlsVersion, userIdentity.arn, userAgent ORDER BY calls DESC"},
	{"User agents", "Counts the clients, such as SDKs, the CLI and Terraform, that call the account.",
		"SELECT userAgent, count(*) AS calls, max(eventTime) AS last_seen" + from + "GROUP BY userAgent ORDER BY calls DESC LIMIT 50"},
	{"Calls at night", "Finds changes made outside of working hours, between 22:00 and 05:00 UTC.",
		"SELECT eventTime, userIdentity.arn, eventSource, eventName" + from + "WHERE readOnly = false AND (hour(eventTime) >= 22 OR hour(eventTime) < 5) ORDER BY eventTime DESC"},
	{"First and last use of each operation", "Shows when each operation was first and last called and how often, to narrow policies to what is used (least privilege).",
		"SELECT eventSource, eventName, min(eventTime) AS first_use, max(eventTime) AS last_use, count(*) AS calls" + from + "GROUP BY eventSource, eventName ORDER BY eventSource, eventName"},
	{"Operations that a role uses", "Lists the operations that sessions of one role called successfully, for a policy of least privilege. Put the role's ARN in.",
		"SELECT DISTINCT eventSource, eventName" + from +
			"WHERE userIdentity.sessionContext.sessionIssuer.arn = 'arn:aws:iam::111122223333:role/example' AND errorCode IS NULL ORDER BY 1, 2"},
	{"History of one resource", "Shows every event that concerns one resource. Put its ARN in.",
		"SELECT eventTime, userIdentity.arn, eventName" + from + "WHERE any_match(resources, r -> r.arn = 'arn:aws:s3:::example-bucket') ORDER BY eventTime"},
	{"Throttled calls", "Counts calls that were throttled because a rate limit was exceeded, by service and caller.",
		"SELECT eventSource, eventName, userIdentity.arn, count(*) AS throttled" + from +
			"WHERE errorCode IN ('ThrottlingException', 'Throttling', 'RequestLimitExceeded', 'TooManyRequestsException') GROUP BY eventSource, eventName, userIdentity.arn ORDER BY throttled DESC"},
	{"Calls made by services", "Lists the calls that a service made for a principal, such as those of Athena in S3 and Glue.",
		"SELECT userIdentity.invokedBy, eventSource, eventName, count(*) AS calls" + from + "WHERE userIdentity.invokedBy IS NOT NULL GROUP BY userIdentity.invokedBy, eventSource, eventName ORDER BY calls DESC"},
}
