import { Component } from 'react'
import type { ReactNode } from 'react'
import { Button } from '../ui/button.tsx'
import { Icon } from '../ui/icon.tsx'
import { Page } from '../ui/page.tsx'
import { Panel } from '../ui/parts.tsx'

interface Props {
  /** What the screen is reached by: another one starts afresh. */
  readonly path: string
  readonly children: ReactNode
}

interface State {
  readonly failure: string | undefined
  readonly path: string
}

/** Around each screen: a fault in one says so in its place and takes neither the menu nor the live state with it. */
export class Boundary extends Component<Props, State> {
  override state: State = { failure: undefined, path: this.props.path }

  static getDerivedStateFromError(error: unknown): Pick<State, 'failure'> {
    return { failure: error instanceof Error ? error.message : String(error) }
  }

  static getDerivedStateFromProps({ path }: Props, state: State): State | null {
    return path === state.path ? null : { failure: undefined, path }
  }

  override render(): ReactNode {
    const { failure } = this.state
    if (failure === undefined) return this.props.children
    return (
      <Page title="This screen failed">
        <Panel>
          <div className="failure" role="alert">
            <p>
              <Icon name="broken" /> The console could not draw this screen: <code>{failure}</code>
            </p>
          </div>
          <p className="panel-text">
            Nothing was changed by it, and nothing was decided: gateways go on enforcing. The other
            screens work. If it fails again, the same facts are on the command line:{' '}
            <code>sallyport --help</code>.
          </p>
          <p className="panel-text boundary-acts">
            <Button icon="refresh" onPress={() => this.setState({ failure: undefined })}>
              Try again
            </Button>
            <Button kind="quiet" onPress={() => history.back()}>
              Go back
            </Button>
            <Button kind="quiet" onPress={() => location.assign('/')}>
              Overview
            </Button>
          </p>
        </Panel>
      </Page>
    )
  }
}
