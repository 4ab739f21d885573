// @ts-check
/** Runs before all other modules: connects, so that the first picture is fetched while the modules are. */

import { connect } from "../server/feed-client.js";
import { startEmbed } from "../ui/embed.js";
import { startTheme } from "../ui/theme.js";

startEmbed();
startTheme();
connect();
