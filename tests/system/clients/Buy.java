// What Java's own client does by default: it offers h2c with its first request.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

class Buy {
  public static void main(String[] words) throws Exception {
    var http = HttpClient.newHttpClient();
    var body = "{\"usuarioId\": %s, \"tokenId\": %s}".formatted(words[1], words[2]);
    var asked = HttpRequest.newBuilder(URI.create(words[0] + "/compras"))
        .header("Content-Type", "application/json").header("Idempotency-Key", words[3]).header("Prefer", "wait=30")
        .POST(HttpRequest.BodyPublishers.ofString(body)).build();
    var bought = http.send(asked, HttpResponse.BodyHandlers.ofString());
    System.out.println(bought.statusCode() + " " + bought.body());
    var place = URI.create(words[0] + bought.headers().firstValue("Location").orElseThrow());
    for (var path : new String[] {"", "/eventos"}) {
      var read = http.send(HttpRequest.newBuilder(URI.create(place + path)).build(), HttpResponse.BodyHandlers.ofString());
      System.out.println(read.statusCode() + " " + read.body());
    }
  }
}
