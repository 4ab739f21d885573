// @ts-check
/** Runs before everything else: connects, so that the first picture is on its way while the page's modules still are. */

import { connect } from "./feed-client.js";
import { startTheme } from "./theme.js";

startTheme();
connect();
