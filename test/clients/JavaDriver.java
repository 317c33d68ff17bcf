import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.AllNodesFailedException;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.*;
import com.datastax.oss.driver.api.core.metadata.schema.TableMetadata;
import com.datastax.oss.driver.api.core.servererrors.InvalidQueryException;
import com.datastax.oss.driver.api.core.servererrors.SyntaxError;
import com.datastax.oss.driver.api.core.type.DataTypes;
import com.datastax.oss.driver.api.core.data.TupleValue;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.time.*;
import java.util.*;

/** The Java driver against a running server, over TLS with a truststore. */
public final class JavaDriver {
  private static final String KS = "java_plain";

  private static final Object[][] COLUMNS;

  static {
    try {
      COLUMNS = new Object[][] {
        {"c_ascii", "ascii", "plain"},
        {"c_bigint", "bigint", Long.MIN_VALUE},
        {"c_blob", "blob", ByteBuffer.wrap(new byte[] {0, -1, 16})},
        {"c_boolean", "boolean", true},
        {"c_date", "date", LocalDate.parse("1969-12-31")},
        {"c_decimal", "decimal", new BigDecimal("-12345678901234567890.0123456789")},
        {"c_double", "double", -0.1},
        {"c_float", "float", 0.5f},
        {"c_inet", "inet", InetAddress.getByName("2001:db8::1")},
        {"c_int", "int", Integer.MAX_VALUE},
        {"c_smallint", "smallint", Short.MIN_VALUE},
        {"c_text", "text", "naïve 🦌 'quoted'"},
        {"c_time", "time", LocalTime.parse("23:59:59.999999999")},
        {"c_timestamp", "timestamp", Instant.parse("1960-02-29T12:30:15.123Z")},
        {"c_timeuuid", "timeuuid", UUID.fromString("50554d6e-29bb-11e5-b345-feff819cdc9f")},
        {"c_tinyint", "tinyint", Byte.MIN_VALUE},
        {"c_uuid", "uuid", UUID.fromString("123e4567-e89b-42d3-a456-426614174000")},
        {"c_varchar", "varchar", ""},
        {"c_varint", "varint", BigInteger.ONE.shiftLeft(100)},
        {"c_list", "list<int>", List.of(3, 1, 2)},
        {"c_set", "set<text>", Set.of("a", "b")},
        {"c_map", "map<text, int>", Map.of("k", 1, "l", -1)},
        {"c_frozen", "frozen<list<frozen<map<text, int>>>>", List.of(Map.of("a", 1), Map.of("b", 2))},
        {"c_tuple", "tuple<int, text>", DataTypes.tupleOf(DataTypes.INT, DataTypes.TEXT).newValue(1, "one")},
      };
    } catch (Exception e) {
      throw new ExceptionInInitializerError(e);
    }
  }

  private static void equal(Object got, Object want, String what) {
    if (!Objects.equals(got, want)) {
      throw new AssertionError(what + ": got " + got + ", want " + want);
    }
  }

  private static CqlSession connect(String password) {
    Map<String, String> env = System.getenv();
    DriverConfigLoader config = DriverConfigLoader.programmaticBuilder()
        .withString(DefaultDriverOption.SSL_ENGINE_FACTORY_CLASS, "DefaultSslEngineFactory")
        .withString(DefaultDriverOption.SSL_TRUSTSTORE_PATH, env.get("TRUSTSTORE"))
        .withString(DefaultDriverOption.SSL_TRUSTSTORE_PASSWORD, "changeit")
        .withBoolean(DefaultDriverOption.SSL_HOSTNAME_VALIDATION, true)
        .withString(DefaultDriverOption.REQUEST_CONSISTENCY, "LOCAL_QUORUM")
        .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(60))
        .withDuration(DefaultDriverOption.CONNECTION_INIT_QUERY_TIMEOUT, Duration.ofSeconds(30))
        .withDuration(DefaultDriverOption.CONTROL_CONNECTION_TIMEOUT, Duration.ofSeconds(30))
        .build();
    return CqlSession.builder()
        .withConfigLoader(config)
        .addContactPoint(new InetSocketAddress(env.get("SPOOR_CQL_HOST"), Integer.parseInt(env.get("SPOOR_CQL_PORT"))))
        .withLocalDatacenter(env.get("AWS_REGION"))
        .withAuthCredentials(env.get("SPOOR_CQL_USER"), password)
        .build();
  }

  public static void main(String[] args) {
    try (CqlSession s = connect(System.getenv("SPOOR_CQL_PASSWORD"))) {
      schema(s);
      types(s);
      rows(s);
      errors(s);
      s.execute("DROP KEYSPACE " + KS);
    }
    try (CqlSession s = connect("wrong")) {
      throw new AssertionError("a wrong password was accepted");
    } catch (AllNodesFailedException e) {
      if (!e.getAllErrors().toString().contains("AuthenticationException")) {
        throw e;
      }
    }
  }

  private static void schema(CqlSession s) {
    s.execute("CREATE KEYSPACE " + KS + " WITH replication = {'class': 'SingleRegionStrategy'}");
    StringJoiner columns = new StringJoiner(", ");
    for (Object[] c : COLUMNS) {
      columns.add(c[0] + " " + c[1]);
    }
    s.execute("CREATE TABLE " + KS + ".types (id int PRIMARY KEY, " + columns + ")");
    s.execute("CREATE TABLE " + KS + ".rows (p text, c int, v text, PRIMARY KEY (p, c)) WITH CLUSTERING ORDER BY (c DESC)");
    s.refreshSchema();
    TableMetadata t = s.getMetadata().getKeyspace(KS).orElseThrow().getTable("types").orElseThrow();
    equal(t.getColumns().size(), COLUMNS.length + 1, "columns");
    equal(t.getColumn("c_map").orElseThrow().getType(), DataTypes.mapOf(DataTypes.TEXT, DataTypes.INT), "type in the schema");
    TableMetadata r = s.getMetadata().getKeyspace(KS).orElseThrow().getTable("rows").orElseThrow();
    equal(r.getClusteringColumns().values().iterator().next().name(), "DESC", "clustering order");
  }

  private static void types(CqlSession s) {
    StringJoiner names = new StringJoiner(", ");
    for (Object[] c : COLUMNS) {
      names.add((String) c[0]);
    }
    PreparedStatement insert = s.prepare("INSERT INTO " + KS + ".types (id, " + names + ") VALUES (?" + ", ?".repeat(COLUMNS.length) + ")");
    Object[] values = new Object[COLUMNS.length + 1];
    values[0] = 1;
    for (int i = 0; i < COLUMNS.length; i++) {
      values[i + 1] = COLUMNS[i][2];
    }
    s.execute(insert.bind(values));
    Object[] nothing = new Object[COLUMNS.length + 1];
    nothing[0] = 2;
    s.execute(insert.bind(nothing));
    PreparedStatement select = s.prepare("SELECT * FROM " + KS + ".types WHERE id = ?");
    Row row = s.execute(select.bind(1)).one();
    for (Object[] c : COLUMNS) {
      Object got = row.getObject((String) c[0]);
      Object want = c[2];
      if (want instanceof TupleValue) {
        equal(((TupleValue) got).getFormattedContents(), ((TupleValue) want).getFormattedContents(), (String) c[0]);
      } else {
        equal(got, want, (String) c[0]);
      }
    }
    row = s.execute(select.bind(2)).one();
    for (Object[] c : COLUMNS) {
      equal(row.isNull((String) c[0]), true, c[0] + " of nothing");
    }
  }

  private static void rows(CqlSession s) {
    PreparedStatement put = s.prepare("INSERT INTO " + KS + ".rows (p, c, v) VALUES (?, ?, ?)");
    for (int i = 0; i < 25; i++) {
      s.execute(put.bind("pages", i, "v" + i));
    }
    ResultSet pages = s.execute(SimpleStatement.newInstance("SELECT c FROM " + KS + ".rows WHERE p = 'pages'").setPageSize(10));
    equal(pages.getAvailableWithoutFetching(), 10, "first page");
    int want = 24;
    for (Row r : pages) {
      equal(r.getInt("c"), want--, "paging");
    }
    equal(want, -1, "rows of all pages");

    s.execute(BatchStatement.newInstance(DefaultBatchType.LOGGED, put.bind("batch", 1, "a"), put.bind("batch", 2, "b")));
    List<String> got = new ArrayList<>();
    for (Row r : s.execute("SELECT v FROM " + KS + ".rows WHERE p = 'batch'")) {
      got.add(r.getString("v"));
    }
    equal(got, List.of("b", "a"), "batch");

    String once = "INSERT INTO " + KS + ".rows (p, c, v) VALUES ('lwt', 1, 'first') IF NOT EXISTS";
    equal(s.execute(once).wasApplied(), true, "the first conditional insert");
    ResultSet second = s.execute(once);
    equal(second.wasApplied(), false, "the second conditional insert");
    equal(second.one().getString("v"), "first", "the row that was there");

    s.execute("INSERT INTO " + KS + ".rows (p, c, v) VALUES ('ttl', 1, 'x') USING TTL 86400");
    int ttl = s.execute("SELECT ttl(v) FROM " + KS + ".rows WHERE p = 'ttl' AND c = 1").one().getInt(0);
    equal(ttl > 86000 && ttl <= 86400, true, "TTL " + ttl);
  }

  private static void errors(CqlSession s) {
    try {
      s.execute("SELEC 1");
      throw new AssertionError("a statement that does not parse was accepted");
    } catch (SyntaxError expected) {
      equal(expected.getMessage().startsWith("line 1:0 no viable alternative at input 'SELEC'"), true, expected.getMessage());
    }
    try {
      s.execute("SELECT nothing FROM " + KS + ".rows");
      throw new AssertionError("an unknown column was accepted");
    } catch (InvalidQueryException expected) {
      // what is wanted
    }
  }
}
