// Reads Kubernetes objects as a JSON list on standard input and validates the custom ones against their published schemas.
import { readFileSync } from "node:fs";

const load = (path) => import(`${process.env.MODELS_FOLDER}/node_modules/@kubernetes-models/${path}/index.js`);
const models = {
  "monitoring.coreos.com/v1": await load("prometheus-operator/monitoring.coreos.com/v1"),
  "argoproj.io/v1alpha1": await load("argo-cd/argoproj.io/v1alpha1"),
};
let failed = false;
for (const object of JSON.parse(readFileSync(0, "utf8"))) {
  const kinds = models[object.apiVersion];
  if (!kinds) continue;
  const name = `${object.kind} ${object.metadata?.name}`;
  try {
    if (!kinds[object.kind]) throw new Error("unknown kind");
    new kinds[object.kind](object).validate();
    console.log(`${name} is valid`);
  } catch (error) {
    console.error(`${name}: ${error.message}`);
    failed = true;
  }
}
process.exit(failed ? 1 : 0);
