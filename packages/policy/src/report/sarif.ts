import type { Finding } from './findings.ts'

export interface SarifOptions {
  /** Which command it was: runs of different commands stand beside each other, and a new one replaces its own. */
  readonly category: string
  /** Of the tool. */
  readonly version: string
  /** The page of a code, where there is one. */
  readonly helpOf: (code: string) => { readonly summary: string; readonly page: string } | undefined
}

/** Findings as SARIF 2.1.0 (OASIS), one run, one rule a code. */
export function sarifLog(findings: readonly Finding[], options: SarifOptions): unknown {
  const codes = [...new Set(findings.map(({ code }) => code))].sort()
  return {
    $schema:
      'https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json',
    version: '2.1.0',
    runs: [
      {
        tool: {
          driver: {
            name: 'sallyport',
            semanticVersion: options.version,
            informationUri: 'https://sallyport.dev',
            rules: codes.map((code) => rule(code, options)),
          },
        },
        automationDetails: { id: `sallyport/${options.category}/` },
        columnKind: 'utf16CodeUnits',
        results: findings.map((finding) => result(finding, codes)),
      },
    ],
  }
}

function rule(code: string, { helpOf }: SarifOptions): unknown {
  const help = helpOf(code)
  return {
    id: code,
    shortDescription: { text: help?.summary ?? code },
    help: { text: help?.page ?? code, ...(help ? { markdown: help.page } : {}) },
    helpUri: `https://sallyport.dev/errors/${code}`,
  }
}

function result({ code, level, message, span }: Finding, codes: readonly string[]): unknown {
  const { file, line, column, endLine, endColumn } = span
  const end =
    endLine === undefined ? {} : { endLine, ...(endColumn === undefined ? {} : { endColumn }) }
  return {
    ruleId: code,
    ruleIndex: codes.indexOf(code),
    level,
    message: { text: message },
    locations: [
      {
        physicalLocation: {
          artifactLocation: { uri: uriOf(file), uriBaseId: '%SRCROOT%' },
          region: { startLine: line, startColumn: column, ...end },
        },
      },
    ],
  }
}

/** A relative path as a relative reference (RFC 3986): a colon in its first segment would read as a scheme. */
function uriOf(path: string): string {
  return path
    .split('/')
    .map((segment) => encodeURIComponent(segment))
    .join('/')
}
