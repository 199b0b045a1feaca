import java.nio.file.*;
import java.util.*;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.Node;
import org.opensearch.transport.Netty4Plugin;

/** One OpenSearch node in this process, for tests: SearchNode HOME HOST PORT. Single node, loopback, no security plugin. */
public final class SearchNode extends Node {
    private SearchNode(Settings s, Path home) {
        super(new Environment(s, home.resolve("config")), List.of(Netty4Plugin.class), true);
    }
    public static void main(String[] a) throws Exception {
        Path home = Files.createDirectories(Path.of(a[0]));
        Files.createDirectories(home.resolve("config"));
        Settings s = Settings.builder().put("path.home", home.toString()).put("cluster.name", "test").put("node.name", "n1")
            .put("network.host", a[1]).put("http.port", a[2]).put("transport.port", "0").put("discovery.type", "single-node")
            .put("transport.type", "netty4").put("http.type", "netty4")
            .put("cluster.routing.allocation.disk.threshold_enabled", "false").build();
        Node n = new SearchNode(s, home).start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { try { n.close(); } catch (Exception e) { e.printStackTrace(); } }));
        System.out.println("listening on " + a[1] + ":" + a[2]);
        Thread.currentThread().join();
    }
}
