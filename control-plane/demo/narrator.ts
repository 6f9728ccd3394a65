/** Tells the demo's story: as text for a person, or as one JSON object a line. */
import { styleText } from 'node:util';

export interface Claim {
  readonly act: number;
  /** A sentence that is true or false. */
  readonly claim: string;
  readonly holds: boolean;
  /** What was seen, from the client's side and from the flows. */
  readonly evidence: readonly string[];
}

export interface Outcome {
  readonly passed: boolean;
  readonly falseClaims: readonly string[];
  readonly seconds: number;
}

export interface Narrator {
  /** The stage is set; `details` is what a program needs to look at it or to disturb it. */
  ready(details: {
    readonly instance: string;
    readonly folder: string;
    readonly namespaces: Readonly<Record<string, string>>;
  }): void;
  say(...lines: readonly string[]): void;
  act(number: number, title: string): void;
  actEnds(number: number, seconds: number): void;
  document(text: string): void;
  claim(claim: Claim): void;
  waiting(next: number): void;
  outcome(outcome: Outcome): void;
}

type Write = (text: string) => void;

export function textNarrator(write: Write, colour: boolean): Narrator {
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    colour ? styleText(style, text, { validateStream: false }) : text;
  const line = (text = ''): void => write(`${text}\n`);
  return {
    ready: () => undefined,
    say: (...lines) => {
      for (const each of lines) line(each);
    },
    act: (number, title) => {
      line();
      line(paint('bold', `Act ${number}. ${title}`));
    },
    actEnds: (_, seconds) => line(paint('dim', `  (${seconds.toFixed(1)} s)`)),
    document: (text) => {
      for (const each of text.trimEnd().split('\n')) line(paint('cyan', `    ${each}`));
    },
    claim: ({ claim, holds, evidence }) => {
      line(`  ${holds ? paint('green', '✓') : paint('red', '✗')} ${claim}`);
      for (const each of evidence) line(paint('dim', `      ${each}`));
    },
    waiting: (next) => line(`\n  Press Enter for act ${next}.`),
    outcome: ({ passed, falseClaims, seconds }) => {
      line();
      if (passed) line(`${paint('green', '✓')} Every claim held. ${seconds.toFixed(1)} s.`);
      else for (const claim of falseClaims) line(`${paint('red', '✗')} Not true: ${claim}`);
    },
  };
}

export function jsonNarrator(write: Write): Narrator {
  const emit = (type: string, fields: object): void => write(`${JSON.stringify({ type, ...fields })}\n`);
  return {
    ready: (details) => emit('ready', details),
    say: () => undefined,
    act: (number, title) => emit('act', { act: number, title }),
    actEnds: (number, seconds) => emit('act-end', { act: number, seconds }),
    document: () => undefined,
    claim: (claim) => emit('claim', claim),
    waiting: (next) => emit('waiting', { act: next }),
    outcome: (outcome) => emit('outcome', outcome),
  };
}
