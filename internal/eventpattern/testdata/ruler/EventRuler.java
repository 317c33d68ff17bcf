import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import software.amazon.event.ruler.JsonRuleCompiler;
import software.amazon.event.ruler.Machine;

/**
 * Reads cases, one JSON object a line: a pattern p and events e. Answers each with err, why the pattern is refused, or m,
 * which of the events it matches.
 */
public final class EventRuler {
    public static void main(String[] args) throws Exception {
        ObjectMapper json = new ObjectMapper();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode question = json.readTree(line);
            String pattern = question.get("p").asText();
            ObjectNode answer = json.createObjectNode();
            Machine machine = new Machine();
            try {
                // Takes "$or" for a plain name where it is no list of alternatives.
                machine.addRule("rule", pattern);
                ArrayNode matches = answer.putArray("m");
                for (JsonNode event : question.get("e")) {
                    matches.add(!machine.rulesForJSONEvent(event.asText()).isEmpty());
                }
            } catch (Exception e) {
                String reason = JsonRuleCompiler.check(pattern);
                answer.put("err", reason != null ? reason : String.valueOf(e.getMessage()));
            }
            out.println(json.writeValueAsString(answer));
        }
        out.flush();
    }
}
