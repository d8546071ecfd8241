// One session, live: its stages, its task and its events, as they come. Opened with ?url=DAEMON&session=ID.
import {
  connect,
  type Session,
  type SessionEvent,
  SessionEvent_Type,
  type SessionTask,
  Session_State,
  SessionTask_Status,
  SessiondError,
  type Workflow,
} from "@sessiond/client/browser";

const byId = (id: string): HTMLElement => document.getElementById(id) as HTMLElement;
const say = (id: string, text: string): void => void (byId(id).textContent = text);
const words = (name: string): string => name.toLowerCase().replaceAll("_", " ");

const asked = new URLSearchParams(location.search);
const url = asked.get("url") ?? "http://127.0.0.1:8377";
const sessionId = asked.get("session") ?? "";

function show(state: "connecting" | "live" | "resuming" | "ended"): void {
  byId("connection").dataset["state"] = state;
  say("connection", state);
}

function showSession(session: Session, workflow: Workflow): void {
  say("title", workflow.displayName);
  say("session", session.sessionId);
  say("stage", session.stageDisplayName || session.stage);
  say("status", session.status);
  say("state", words(Session_State[session.state] ?? ""));
  say("owner", session.ownerDisplayName || session.ownerId);
  const current = workflow.stages.findIndex(({ name }) => name === session.stage);
  byId("stages").replaceChildren(
    ...workflow.stages.map(({ name, displayName }, index) => {
      const item = document.createElement("li");
      item.textContent = displayName || name;
      item.classList.toggle("passed", index < current);
      if (index === current) item.setAttribute("aria-current", "step");
      return item;
    }),
  );
  showTask(session.currentTask);
  byId("live").hidden = false;
}

function showTask(task: SessionTask | undefined): void {
  byId("task").hidden = task === undefined;
  if (task === undefined) return;
  const status = SessionTask_Status[task.status] ?? "";
  say("task-type", words(task.taskType));
  say("task-status", words(status));
  byId("task-status").dataset["status"] = status;
  const detail = task.failureContext ?? task.result ?? task.progress;
  const attempt = task.retryCount > 0 ? `attempt ${task.retryCount + 1}  ` : "";
  say("task-detail", attempt + (detail === undefined ? "" : JSON.stringify(detail)));
}

// The newest is at the top; `live`: it has just come.
function showEvent(event: SessionEvent, live: boolean): void {
  const item = document.createElement("li");
  item.classList.toggle("new", live);
  const part = <K extends keyof HTMLElementTagNameMap>(name: K, text: string): HTMLElementTagNameMap[K] =>
    Object.assign(document.createElement(name), { textContent: text });
  const sequence = part("span", `#${event.sequence}`);
  sequence.className = "sequence";
  const time = part("time", event.eventTime?.toLocaleTimeString() ?? "");
  time.dateTime = event.eventTime?.toISOString() ?? "";
  const what = document.createElement("span");
  what.className = "what";
  what.append(part("b", words(SessionEvent_Type[event.type] ?? "")));
  if (event.newStage !== event.oldStage && event.oldStage !== "") {
    what.append(` ${words(event.oldStage)} → ${words(event.newStage)}`);
  }
  const why = [event.actor && `by ${event.actor}`, event.reason].filter(Boolean).join(": ");
  if (why !== "") what.append(part("small", why));
  item.append(sequence, time, what);
  byId("events").prepend(item);
}

function showRefusal(error: unknown): void {
  show("ended");
  byId("refusal").hidden = false;
  const who = error instanceof SessiondError && error.category !== "" ? `\nWho can fix it: ${error.whoCanFixIt}.` : "";
  say("refusal", (error instanceof Error ? error.message : String(error)) + who);
}

async function run(): Promise<void> {
  const sessiond = connect({
    url,
    onEvent(event) {
      if (event.type === "retry") {
        show("resuming");
        say("refusal", event.error.message);
        byId("refusal").hidden = false;
      } else if (event.type === "resumed") {
        show("live");
        byId("refusal").hidden = true;
      }
    },
  });
  let workflow: Workflow | undefined;
  let told = 0; // The sequence of the last event that is shown.
  for await (const item of sessiond.watch({ sessionIds: [sessionId], initialState: true })) {
    show("live");
    if (item.type === "session") {
      const { session } = item;
      workflow ??= await sessiond.getWorkflow({ name: session.workflow, revision: session.workflowRevision });
      showSession(session, workflow);
      // What has happened until now; the watch goes on behind it.
      for await (const event of sessiond.listSessionEvents({ sessionId })) {
        if (event.sequence > told && event.sequence <= session.sequence) showEvent(event, false);
      }
      told = session.sequence;
    } else if (item.type === "change" && item.event.sequence > told) {
      told = item.event.sequence;
      showEvent(item.event, true);
      if (item.session !== undefined && workflow !== undefined) showSession(item.session, workflow);
    }
  }
}

if (sessionId === "") {
  show("ended");
  say("connection", "");
  const form = byId("ask") as HTMLFormElement;
  (form.elements.namedItem("url") as HTMLInputElement).value = url;
  form.hidden = false;
} else {
  run().catch(showRefusal);
}
